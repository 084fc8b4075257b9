"""What is asked over HTTP and what is answered, without a socket."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

JSON = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Heading:
    """The request line and the headers, as they are known before the body is read."""

    method: str
    target: str
    version: str  # of HTTP: "1.0" or "1.1"
    headers: Mapping[str, str]  # by their names in small letters; what came several times is joined by commas

    def header(self, name: str) -> str:
        return self.headers.get(name, "")

    @property
    def keeps_open(self) -> bool:
        connection = self.header("connection").lower()
        return "close" not in connection and (self.version == "1.1" or "keep-alive" in connection)

    @property
    def is_chunked(self) -> bool:
        return "transfer-encoding" in self.headers

    @property
    def length(self) -> int:
        """Of the body, as it is announced; 0 where nothing is said."""
        return int(self.header("content-length") or 0)


@dataclass(slots=True)
class Request:
    method: str
    path: str  # as it was sent: still percent-encoded
    query: Mapping[str, str]
    body: bytes
    content_type: str = ""
    accept: str = ""

    def take(self) -> bytes:
        """The body, which is no longer kept here: what it is unpacked to may be all that is needed of it."""
        body, self.body = self.body, b""
        return body


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    payload: Mapping[str, Any] | bytes  # an object becomes JSON; bytes are sent as they are
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON

    def body(self) -> bytes:
        if isinstance(self.payload, bytes):
            return self.payload
        return json.dumps(self.payload, ensure_ascii=False, allow_nan=False).encode()


@dataclass(frozen=True, slots=True)
class Stream:
    """A reply whose end is not known when it begins. The connection ends with it."""

    parts: Iterator[bytes]  # closed when the client goes away
    content_type: str


class Refused(Exception):
    """A request that ends the connection: what stands behind it cannot be read, or is not to be."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.reply = error_reply(status, message, **headers)


def error_reply(status: int, message: str, **headers: str) -> Reply:
    return Reply(status, {"error": message}, {name.replace("_", "-"): value for name, value in headers.items()})
