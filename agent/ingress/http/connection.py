"""One connection: its requests are read, let in or refused, and answered, one after another."""

import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl

from agent.ingress.http.crowd import Guest
from agent.ingress.http.doors import shut
from agent.ingress.http.guard import Guard
from agent.ingress.http.message import Heading, Refused, Reply, Request, Stream, error_reply
from agent.ingress.http.reading import BodyRoom, Held, Incoming, check_size

log = logging.getLogger(__name__)

IDLE_S = 60.0  # between two requests of one connection
LINGER_S = 2.0  # for a client to read why it was refused before it has sent everything
MAX_FIELDS = 20
_PACKED = ("multipart/", "application/json", "text/")  # what a picture may be packed in


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for every connection of a server."""

    answer: Callable[[Request], Reply | Stream]
    guard: Guard
    bodies: BodyRoom
    max_body_bytes: int
    request_timeout_s: float
    stopping: threading.Event


class Connection:
    """What is said with one guest. Raises OSError where it goes away in the middle of something."""

    def __init__(self, terms: Terms, guest: Guest) -> None:
        self._terms = terms
        self._guest = guest
        self._socket = guest.socket
        self._incoming = Incoming(guest.socket)
        self._open = True

    def converse(self) -> None:
        """Until the client or the server has had enough."""
        self._guest.door.greet(self._socket, self._terms.request_timeout_s)
        while self._open and self._wait_for_request():
            self._incoming.allow(self._terms.request_timeout_s)
            with Held(self._terms.bodies) as held:
                try:
                    heading, request = self._read_request(held)
                except Refused as refusal:
                    self._refuse(refusal.reply)
                except TimeoutError:
                    message = f"the request was not complete after {self._terms.request_timeout_s:g} s"
                    self._refuse(error_reply(HTTPStatus.REQUEST_TIMEOUT, message))
                except EOFError:
                    return
                else:
                    self._answer(heading, request)
                    del request  # its body is not to lie here until the next one comes

    def _wait_for_request(self) -> bool:
        """Whether one has begun."""
        self._incoming.allow(IDLE_S)
        self._guest.since, self._guest.idle = time.monotonic(), True
        if self._terms.stopping.is_set():
            return False
        try:
            return self._incoming.has_begun()
        except TimeoutError:
            return False
        finally:
            self._guest.since, self._guest.idle = time.monotonic(), False

    def _read_request(self, held: Held) -> tuple[Heading, Request]:
        """It and its heading. Raises Refused, TimeoutError, and EOFError where there is none."""
        heading = self._incoming.heading()
        self._open = heading.keeps_open
        if not self._guest.door.trusted:
            refusal = self._terms.guard.refusal(heading, self._guest.peer)
            if refusal is not None:
                raise refusal
        path, _, query = heading.target.partition("?")
        try:
            fields = dict(parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS))
        except ValueError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, f"the query cannot be read: {error}") from error
        limit = self._terms.max_body_bytes
        kind = heading.header("content-type")
        if kind.lower().startswith(_PACKED):
            limit = limit * 3 // 2  # base64 takes a third more, and its lines and the rest of it something too
        check_size(heading.length, limit)
        if self._incoming.asks_to_continue:
            self._socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        method = "GET" if heading.method == "HEAD" else heading.method
        body = self._incoming.body(heading, limit, held)
        return heading, Request(method, path, fields, body, kind, heading.header("accept"))

    def _answer(self, heading: Heading, request: Request) -> None:
        """Nobody is thrown out meanwhile. Raises OSError, TimeoutError too where the client does not take it."""
        self._guest.answering = self._guest.served = True
        reply = self._terms.answer(request)
        if isinstance(reply, Stream):
            self._send_stream(heading, reply)
        else:
            self._send(heading, reply)
        self._guest.answering = False

    def _send(self, heading: Heading | None, reply: Reply) -> None:
        body = reply.body()
        headers = {"Content-Type": reply.content_type, "Content-Length": str(len(body)), **reply.headers}
        if not self._open:
            headers["Connection"] = "close"
        self._socket.settimeout(self._terms.request_timeout_s)
        said = _status_line(reply.status, headers)
        if heading is None or heading.method != "HEAD":
            said += body  # in one segment with the rest
        self._socket.sendall(said)
        if heading is not None:
            log.debug("%s %s: %d", heading.method, heading.target[:200], reply.status)

    def _send_stream(self, heading: Heading, reply: Stream) -> None:
        self._open = False
        try:
            self._socket.settimeout(self._terms.request_timeout_s)
            headers = {"Content-Type": reply.content_type, "Cache-Control": "no-store", "Connection": "close"}
            self._socket.sendall(_status_line(HTTPStatus.OK, headers))
            if heading.method != "HEAD":
                for part in reply.parts:
                    self._socket.sendall(part)
        finally:
            close = getattr(reply.parts, "close", None)
            if close is not None:
                close()

    def _refuse(self, reply: Reply) -> None:
        """Answer, and read on for a moment: who is still sending would otherwise see a reset, not the answer."""
        self._open = False
        self._send(None, reply)
        shut(self._socket, socket.SHUT_WR)
        self._incoming.allow(LINGER_S)
        try:
            self._incoming.drain()
        except OSError:
            log.debug("a refused client went on sending")


def _status_line(status: int, headers: dict[str, str]) -> bytes:
    """With the headers."""
    lines = [f"HTTP/1.1 {int(status)} {HTTPStatus(status).phrase}", *(f"{name}: {headers[name]}" for name in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
