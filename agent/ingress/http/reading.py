"""From a socket's bytes to a request of HTTP/1.1, within bounds and by a deadline.

The grammar is h11's: request line, headers, the framing of bodies, chunks. Ours is what it leaves open: how long a
line may be and how many headers there are, and that nothing is guessed where two readers of the same bytes could find
two different requests in them.
"""

import re
import socket
import threading
import time
from http import HTTPStatus
from io import BufferedReader, RawIOBase
from typing import Any

import h11

from agent.ingress.http.message import Heading, Refused

MAX_HEADERS = 99
MAX_LINE_BYTES = 1 << 13  # of a header
MAX_REQUEST_LINE_BYTES = 1 << 14
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "QUERY")

_VERSIONS = (b"1.0", b"1.1")
_EMPTY = (b"\r\n", b"\n")
_NOT_ASCII = re.compile(rb"[^\0-\x7f]")
_BUFFER_BYTES = 1 << 14  # for headings and chunks; what has its length announced is read past it
_PIECE_BYTES = 1 << 18  # memory is taken for what has come, not for what was announced
_STEP_BYTES = 1 << 16  # room for what comes in chunks is taken before them


class BodyRoom:
    """Memory for the bodies of all requests together; the first 256 kB of each do not count. Thread-safe."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self._taken = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Raises Refused where there is not so much."""
        with self._lock:
            if self._taken + size > self.capacity_bytes:
                message = f"requests of {self._taken} bytes are under way already: try again in a second"
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, message, Retry_After="1")
            self._taken += size

    def give(self, size: int) -> None:
        with self._lock:
            self._taken -= size


class Held:
    """What one request has taken of the room, until its block ends."""

    def __init__(self, room: BodyRoom) -> None:
        self._room = room
        self._size = 0

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, *_: object) -> None:
        if self._size:
            self._room.give(self._size)

    def reach(self, size: int) -> None:
        """The body is to have so many bytes. Raises Refused."""
        more = size - _PIECE_BYTES - self._size
        if more > 0:
            self._room.take(more)
            self._size += more


class _DeadlineReader(RawIOBase):
    """Reads a socket until a deadline (monotonic), then raises TimeoutError."""

    def __init__(self, connection: socket.socket) -> None:
        self.deadline = 0.0
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class Incoming:
    """What a client sends: headings and bodies in turn. Whatever waits raises TimeoutError at the deadline."""

    def __init__(self, connection: socket.socket) -> None:
        self._reader = _DeadlineReader(connection)
        self._file = BufferedReader(self._reader, _BUFFER_BYTES)
        self._http = h11.Connection(h11.SERVER)

    def allow(self, seconds: float) -> None:
        """So long may take, all together, what is read from now on."""
        self._reader.deadline = time.monotonic() + seconds

    def has_begun(self) -> bool:
        """Wait for the first byte of a request; False where the client has ended."""
        return bool(self._file.peek(1))

    def drain(self) -> None:
        """To its end, whatever it is."""
        while self._reader.read(_PIECE_BYTES):
            pass

    def heading(self) -> Heading:
        """Raises Refused, and EOFError where the client went away before the first line was whole."""
        # Anew for each request: h11 answers HTTP/1.0 with a close, and we are asked to keep some of those open.
        self._http = h11.Connection(h11.SERVER)
        self._http.receive_data(self._lines())
        event = self._next()
        assert isinstance(event, h11.Request)
        if event.http_version not in _VERSIONS:
            raise Refused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "speak HTTP/1.1")
        if not event.target.startswith(b"/"):
            raise Refused(HTTPStatus.BAD_REQUEST, "the request line must be: METHOD /path HTTP/1.1")
        headers: dict[str, str] = {}
        for raw_name, raw_value in event.headers:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        if "content-length" in headers and "transfer-encoding" in headers:
            raise Refused(HTTPStatus.BAD_REQUEST, "send either Content-Length or Transfer-Encoding: chunked")
        method = event.method.decode("latin-1")
        if method not in METHODS:
            raise Refused(HTTPStatus.NOT_IMPLEMENTED, f"there is no method {method[:40]!r}")
        return Heading(method, event.target.decode("latin-1"), event.http_version.decode("latin-1"), headers)

    @property
    def asks_to_continue(self) -> bool:
        """Whether the client waits for a word before it sends the body."""
        return self._http.they_are_waiting_for_100_continue

    def body(self, heading: Heading, limit: int, held: Held) -> bytes:
        """What follows the heading, read to its end. Raises Refused, also for chunks of more than `limit` bytes."""
        return self._chunks(limit, held) if heading.is_chunked else self._announced(heading.length, held)

    def _announced(self, length: int, held: Held) -> bytes:
        """So many bytes. h11 would say nothing of them, and copy each three times."""
        pieces, read = [], 0
        while read < length:
            size = min(_PIECE_BYTES, length - read)
            held.reach(read + size)
            pieces.append(self._file.read(size))
            read += len(pieces[-1])
            if len(pieces[-1]) < size:
                raise Refused(HTTPStatus.BAD_REQUEST, f"the body ended after {read} of {length} bytes")
        return b"".join(pieces)

    def _chunks(self, limit: int, held: Held) -> bytes:
        body, lent = bytearray(), b""  # what h11 has seen is taken from the file when it is known not to be too much
        while not isinstance(event := self._next(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                check_size(len(body) + len(event.data), limit)
                body += event.data
            else:
                held.reach(min(len(body) + _STEP_BYTES, limit))
                self._file.read(len(lent))
                lent = self._file.peek()
                self._http.receive_data(lent)
        beyond, _ = self._http.trailing_data
        self._file.read(len(lent) - len(beyond))
        return bytes(body)

    def _lines(self) -> bytes:
        """A heading to its empty line. Raises Refused, and EOFError where the first line does not end."""
        line = self._file.readline(MAX_REQUEST_LINE_BYTES)
        if line in _EMPTY:  # some clients end a body with a line that nobody asked for
            line = self._file.readline(MAX_REQUEST_LINE_BYTES)
        if not line.endswith(b"\n"):
            if len(line) < MAX_REQUEST_LINE_BYTES:
                raise EOFError
            raise Refused(HTTPStatus.REQUEST_URI_TOO_LONG, f"the request line may take {MAX_REQUEST_LINE_BYTES} bytes")
        if not line.isascii():  # curl sends an umlaut in an address as it was typed
            line = _NOT_ASCII.sub(lambda found: b"%%%02X" % ord(found[0]), line)
        lines = [line]
        for _ in range(MAX_HEADERS + 1):
            line = self._file.readline(MAX_LINE_BYTES)
            if line in _EMPTY:
                # h11 insists on a Host, as the standard does. The ten lines of C in some cameras say none.
                if not any(header[:5].lower() == b"host:" for header in lines):
                    lines.append(b"Host:\r\n")
                return b"".join([*lines, line])
            # A header that begins with a blank h11 would put behind the one before it. Others take it for one of its
            # own: so one request is smuggled inside another.
            if not line.endswith(b"\n") or line.startswith((b" ", b"\t")):
                raise Refused(HTTPStatus.BAD_REQUEST, "a header cannot be read")
            lines.append(line)
        raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"there are more than {MAX_HEADERS} headers")

    def _next(self) -> object:
        """What h11 finds in what has come. Raises Refused where that is none of HTTP's."""
        try:
            return self._http.next_event()
        except (h11.RemoteProtocolError, ValueError) as error:  # h11 0.14 gives int() a number of any length
            reason = str(error).partition(": bytearray(")[0][:200]  # who sent it knows the line, and not Python
            raise Refused(HTTPStatus.BAD_REQUEST, f"the request cannot be read: {reason}") from error


def check_size(length: int, limit: int) -> None:
    """Raises Refused."""
    if length > limit:
        message = f"the body has {length} bytes or more, the limit is {limit} (by frames.max_bytes)"
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
