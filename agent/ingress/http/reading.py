"""From a socket's bytes to a request of HTTP/1.1: strictly, within bounds, and by a deadline."""

import re
import socket
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from io import RawIOBase
from typing import Any, BinaryIO

from agent.ingress.http.message import Refused

MAX_HEADERS = 100
MAX_LINE_BYTES = 1 << 13  # of a header
MAX_REQUEST_LINE_BYTES = 1 << 14
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "QUERY")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PIECE_BYTES = 1 << 18  # memory is taken for what has come, not for what was announced


class DeadlineReader(RawIOBase):
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


@dataclass(frozen=True, slots=True)
class Heading:
    """The request line and the headers, these by their names in small letters."""

    method: str
    target: str
    version: str
    headers: dict[str, list[str]]

    def header(self, name: str) -> str:
        return ", ".join(self.headers.get(name, ()))

    @property
    def keeps_open(self) -> bool:
        connection = self.header("connection").lower()
        return "close" not in connection and (self.version == "HTTP/1.1" or "keep-alive" in connection)

    @property
    def is_chunked(self) -> bool:
        """Raises Refused for an encoding that is not known here, and for a body with two lengths."""
        encoding = self.header("transfer-encoding")
        if encoding and (encoding.lower() != "chunked" or "content-length" in self.headers):
            raise Refused(HTTPStatus.BAD_REQUEST, "send either Content-Length or Transfer-Encoding: chunked")
        return bool(encoding)

    @property
    def length(self) -> int:
        """Of the body, as it is announced; 0 where nothing is said. Raises Refused."""
        lengths = set(self.headers.get("content-length", ()))
        if not lengths:
            return 0
        text = lengths.pop()
        if lengths or not (text.isascii() and text.isdecimal()) or len(text) > 18:
            raise Refused(HTTPStatus.BAD_REQUEST, "Content-Length must be given once, as a number")
        return int(text)


def read_heading(file: BinaryIO) -> Heading:
    """Raises Refused, TimeoutError, and EOFError where the client went away before the first line was whole."""
    line = file.readline(MAX_REQUEST_LINE_BYTES)
    if line in (b"\r\n", b"\n"):  # some clients end a body with a line that nobody asked for
        line = file.readline(MAX_REQUEST_LINE_BYTES)
    if not line.endswith(b"\n"):
        if len(line) < MAX_REQUEST_LINE_BYTES:
            raise EOFError
        raise Refused(HTTPStatus.REQUEST_URI_TOO_LONG, f"the request line may take {MAX_REQUEST_LINE_BYTES} bytes")
    words = line.decode("latin-1").rstrip("\r\n").split(" ")
    if len(words) != 3 or not words[1].startswith("/"):
        raise Refused(HTTPStatus.BAD_REQUEST, "the request line must be: METHOD /path HTTP/1.1")
    method, target, version = words
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise Refused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "speak HTTP/1.1")
    heading = Heading(method, target, version, _read_headers(file))
    if method not in METHODS:
        raise Refused(HTTPStatus.NOT_IMPLEMENTED, f"there is no method {method[:40]!r}")
    return heading


def _read_headers(file: BinaryIO) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for _ in range(MAX_HEADERS):
        line = file.readline(MAX_LINE_BYTES)
        if line in (b"\r\n", b"\n"):
            return headers
        name, colon, value = line.decode("latin-1").partition(":")
        # A blank within a name, or before it, is how one request is smuggled inside another.
        if not line.endswith(b"\n") or not colon or not _TOKEN.fullmatch(name):
            raise Refused(HTTPStatus.BAD_REQUEST, "a header cannot be read")
        headers.setdefault(name.lower(), []).append(value.strip())
    raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"there are more than {MAX_HEADERS - 1} headers")


def read_body(file: BinaryIO, heading: Heading, limit: int, held: Held) -> bytes:
    """The body, read to its end. Raises Refused, also for more than `limit` bytes, and TimeoutError."""
    if heading.is_chunked:
        return _read_chunks(file, limit, held)
    length = heading.length
    check_size(length, limit)
    body = _read(file, length, held, 0)
    if len(body) < length:
        raise Refused(HTTPStatus.BAD_REQUEST, f"the body ended after {len(body)} of {length} bytes")
    return body


def check_size(length: int, limit: int) -> None:
    """Raises Refused."""
    if length > limit:
        message = f"the body has {length} bytes or more, the limit is {limit} (frames.max_bytes)"
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)


def _read(file: BinaryIO, length: int, held: Held, before: int) -> bytes:
    """So many bytes, or what there was; `before` is how many of the body were read before them."""
    if before + length <= _PIECE_BYTES:
        return file.read(length)
    pieces, read = [], 0
    while read < length:
        size = min(_PIECE_BYTES, length - read)
        held.reach(before + read + size)
        pieces.append(file.read(size))
        read += size
        if len(pieces[-1]) < size:
            break
    return b"".join(pieces)


def _read_chunks(file: BinaryIO, limit: int, held: Held) -> bytes:
    body = bytearray()
    while True:
        size = _line(file).split(b";")[0].strip()  # behind a semicolon are extensions that nobody uses
        if not size or len(size) > 8 or size.strip(b"0123456789abcdefABCDEF"):
            raise Refused(HTTPStatus.BAD_REQUEST, "a chunk's size cannot be read")
        length = int(size, 16)
        if length == 0:
            break
        check_size(len(body) + length, limit)
        body += _read(file, length, held, len(body))
        if _line(file).strip():
            raise Refused(HTTPStatus.BAD_REQUEST, "a chunk is longer than it says, or the body ended early")
    for _ in range(MAX_HEADERS):
        if not _line(file).strip():  # trailers
            return bytes(body)
    raise Refused(HTTPStatus.BAD_REQUEST, "there are too many trailers")


def _line(file: BinaryIO) -> bytes:
    line = file.readline(1024)
    if not line.endswith(b"\n"):
        raise Refused(HTTPStatus.BAD_REQUEST, "the chunked body is broken off")
    return line
