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

import h11

from agent.ingress.http.message import Heading, Refused

MAX_HEADERS = 99
MAX_LINE_BYTES = 1 << 13  # of a header
MAX_REQUEST_LINE_BYTES = 1 << 14
MAX_HEADING_BYTES = 1 << 16
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "QUERY")

_VERSIONS = (b"1.0", b"1.1")
_EMPTY_LINE = re.compile(rb"\n\r?\n")
_HOST = re.compile(rb"\nhost:", re.IGNORECASE)
_NOT_ASCII = re.compile(rb"[^\0-\x7f]")
_LINES_BYTES = 1 << 14  # are received at a time
_PIECE_BYTES = 1 << 16  # of a body; memory is taken for what has come, not for what was announced
_UNCOUNTED_BYTES = 1 << 18


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
        more = size - _UNCOUNTED_BYTES - self._size
        if more > 0:
            self._room.take(more)
            self._size += more


class Incoming:
    """What a client sends: headings and bodies in turn. Whatever waits raises TimeoutError at the deadline."""

    def __init__(self, connection: socket.socket) -> None:
        self.deadline = 0.0  # monotonic
        self._socket = connection
        self._ahead = b""  # has come, and belongs to the next request
        self._http = h11.Connection(h11.SERVER)

    def receive(self, size: int = _LINES_BYTES) -> bytes:
        """What comes next as it comes, at most so much; nothing at the end."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long")
        self._socket.settimeout(left)
        return self._socket.recv(size)

    def has_begun(self) -> bool:
        """Wait for the first byte of a request; False where the client has ended."""
        self._ahead = self._ahead or self.receive()
        return bool(self._ahead)

    def heading(self) -> Heading:
        """Raises Refused, and EOFError where the client went away before the first line was whole."""
        # Anew for each request: h11 answers HTTP/1.0 with a close, and we are asked to keep some of those open.
        self._http = h11.Connection(h11.SERVER)
        self._http.receive_data(self._with_heading())
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

    def body(self, limit: int, held: Held) -> bytes:
        """That of the last heading, read to its end. Raises Refused, also for more than `limit` bytes."""
        body = bytearray()
        while not isinstance(event := self._next(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                check_size(len(body) + len(event.data), limit)
                body += event.data
            else:
                held.reach(min(len(body) + _PIECE_BYTES, limit))
                self._http.receive_data(self.receive(_PIECE_BYTES))
        self._ahead, _ = self._http.trailing_data
        return bytes(body)

    def _with_heading(self) -> bytes:
        """All that has come when a heading is whole, and within its bounds. Raises Refused, EOFError."""
        come, searched = _without_empty_line(self._ahead), 0
        while (end := _EMPTY_LINE.search(come, searched)) is None and len(come) <= MAX_HEADING_BYTES:
            searched = max(0, len(come) - 2)
            if not (more := self.receive()):
                if b"\n" in come:
                    raise Refused(HTTPStatus.BAD_REQUEST, "the headers end before an empty line")
                raise EOFError
            come = _without_empty_line(come + more)
        heading = come[: end.end()] if end is not None else come
        _check_lines(heading)
        return _amended(come, len(heading))

    def _next(self) -> object:
        """What h11 finds in what has come. Raises Refused where that is none of HTTP's."""
        try:
            return self._http.next_event()
        except (h11.RemoteProtocolError, ValueError) as error:  # h11 0.14 gives int() a number of any length
            raise Refused(HTTPStatus.BAD_REQUEST, f"the request cannot be read: {str(error)[:200]}") from error


def check_size(length: int, limit: int) -> None:
    """Raises Refused."""
    if length > limit:
        message = f"the body has {length} bytes or more, the limit is {limit} (frames.max_bytes)"
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)


def _without_empty_line(come: bytes) -> bytes:
    """Some clients end a body with one that nobody asked for."""
    return come.removeprefix(b"\r\n").removeprefix(b"\n")


def _check_lines(heading: bytes) -> None:
    """Raises Refused."""
    line, *headers = heading.rstrip(b"\r\n").split(b"\n")
    if len(line) > MAX_REQUEST_LINE_BYTES:
        raise Refused(HTTPStatus.REQUEST_URI_TOO_LONG, f"the request line may take {MAX_REQUEST_LINE_BYTES} bytes")
    if len(headers) > MAX_HEADERS:
        raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"there are more than {MAX_HEADERS} headers")
    for header in headers:
        if len(header) > MAX_LINE_BYTES:
            raise Refused(HTTPStatus.BAD_REQUEST, f"a header may take {MAX_LINE_BYTES} bytes")
        # h11 would put it behind the header before it. Others take it for one of its own: so requests are smuggled.
        if header.startswith((b" ", b"\t")):
            raise Refused(HTTPStatus.BAD_REQUEST, "a header begins with a blank")
    if len(heading) > MAX_HEADING_BYTES:
        raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the headers may take {MAX_HEADING_BYTES} bytes")


def _amended(come: bytes, end: int) -> bytes:
    """With what clients leave out that h11, as the standard, insists on, and that is not to be guessed at.

    The ten lines of C in some cameras say no Host, and curl sends an umlaut in an address as it was typed.
    """
    line, newline, rest = come.partition(b"\n")
    if not line.isascii():
        line = _NOT_ASCII.sub(lambda found: b"%%%02X" % ord(found[0]), line)
    if _HOST.search(come, 0, end) is None:
        newline += b"Host:\r\n"
    return line + newline + rest
