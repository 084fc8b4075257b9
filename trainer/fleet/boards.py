"""Boards as the desktop reaches them, one or several at once: over HTTP with a token, or through an MQTT broker.

http://porch.lan:8080     the board itself
mqtt://broker.lan/porch   the board that the broker knows as `porch`
"""

import http.client
import io
import json
import logging
import socket
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from agent.board.files import Rationed
from agent.errors import LastlayerError, ServiceError
from agent.state.parcels import PAGE_EXAMPLES, Page, unpack_page

if TYPE_CHECKING:
    from typing_extensions import Self

CONNECT_S = 10.0  # for a board to take a connection
TIMEOUT_S = 60.0  # for one answer, to its end: a board judges a head before it says what it thinks of it
MAX_ANSWER_BYTES = 48 << 20  # the longest page, with room
MAX_WORDS = 300  # characters of what a board says for a person
TRIES = 4
AT_ONCE = 8  # boards
_OF_ANOTHER_NAME = (62, 64)  # OpenSSL's numbers of a certificate for another host, or another address
BUSY = (429, 503)  # statuses of a board that will have time later


logging.getLogger("urllib3").setLevel(logging.ERROR)  # what comes of it is raised, and said in our words


class BoardError(ServiceError):
    """A board that cannot be reached, or does not answer as one."""


class BoardRefusalError(LastlayerError, ValueError):
    """What a board answers to something that it does not want."""

    exit_code = 8


class Board(ABC):
    """One board. What it is asked raises BoardError where it cannot be reached, BoardRefusalError where it refuses.

    All of it is of one `task` of the board; None: of the only one that it has, and one that has several refuses.
    """

    def __init__(self, address: str, task: str | None = None) -> None:
        self.address = address
        self.task = task

    @abstractmethod
    def page(self, start: str) -> Page:
        """A page of its examples, from the frame id `start` (16 hex digits) on. Raises ParcelError too."""

    @abstractmethod
    def send_head(self, parcel: bytes) -> dict[str, Any]:
        """Let it take a head in; `version`, `accepted` and `reason`, as its gate said."""

    @abstractmethod
    def send_backbone(self, parcel: bytes) -> dict[str, Any]:
        """Let it take a backbone in and use it; `bundle` and `in_use`."""


class HttpBoard(Board):
    """A board that can be reached by itself."""

    def __init__(self, address: str, token: str | None, ca: Path | None, task: str | None = None) -> None:
        super().__init__(address.rstrip("/"), task)
        self._answered = False  # once it has, it is a board that may come back
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        encrypted = urlsplit(address).scheme == "https"
        more = {"ca_certs": str(ca)} if encrypted and ca is not None else {}
        self._pool = urllib3.connection_from_url(
            self.address, timeout=urllib3.Timeout(connect=CONNECT_S, read=TIMEOUT_S), **more
        )
        self._pool.ConnectionCls = TlsConnection if encrypted else Connection

    def page(self, start: str) -> Page:
        return unpack_page(self._ask("GET", "/v1/examples", start=start, limit=PAGE_EXAMPLES))

    def send_head(self, parcel: bytes) -> dict[str, Any]:
        return as_object(self.address, self._ask("POST", "/v1/heads", parcel))

    def send_backbone(self, parcel: bytes) -> dict[str, Any]:
        return as_object(self.address, self._ask("POST", "/v1/models", parcel))

    def _ask(self, method: str, path: str, body: bytes | None = None, **query: object) -> bytes:
        """The body of a good answer."""
        asked = query if self.task is None else {**query, "task": self.task}
        address = f"{path}?{urlencode(asked)}" if asked else path
        # A connection that breaks after something was sent leaves open whether it was done: only asking is repeated.
        # What cannot be reached, or is somebody else, will be so in a moment too: whoever typed this is told at once.
        retries = _Retry(
            TRIES,
            connect=0,
            other=0,
            read=TRIES if method == "GET" and self._answered else 0,
            redirect=False,  # a board is where its address says, and the token is for nobody else
            status_forcelist=BUSY,
            allowed_methods=None,
            backoff_factor=0.5,
            respect_retry_after_header=False,  # it may say years
        )
        try:
            answer = self._pool.request(
                method, address, body, headers=self._headers, retries=retries, redirect=False, decode_content=False
            )
        except _EndlessError as error:
            raise BoardError(f"{self.address} is given up: {error}") from error
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            raise BoardError(f"{self.address} {why(error)}") from error
        self._answered = True
        if answer.status >= 300:
            elsewhere = answer.headers.get("Location")
            leads = (
                "" if elsewhere is None else f", which leads to {words(elsewhere)}: name that address, if it is right"
            )
            raise BoardRefusalError(f"{self.address}: {_complaint(answer.status, answer.data)}{leads}")
        return answer.data


class _Retry(urllib3.Retry):
    """Not of an answer that is no HTTP: it would be the same again."""

    def increment(self, *asked: Any, **more: Any) -> "Self":
        error = more.get("error")
        if error is not None and _no_http(error):
            raise error
        return super().increment(*asked, **more)


def _no_http(error: BaseException) -> bool:
    other = (http.client.BadStatusLine, http.client.LineTooLong)
    return any(isinstance(cause, other) and not isinstance(cause, ConnectionError) for cause in _causes(error))


def _causes(error: BaseException) -> list[BaseException]:
    """Itself and what it was raised for, the root of it last: what the HTTP library wraps comes out again."""
    found: list[BaseException] = []
    following: object = error
    while isinstance(following, BaseException) and following not in found:
        found.append(following)
        inside = [each for each in (getattr(following, "reason", None), *following.args) if isinstance(each, Exception)]
        following = next(iter(inside), following.__cause__ or following.__context__)
    return found


def why(error: BaseException) -> str:
    """What is wrong with a connection, as the end of a sentence that begins with its address, and what to do."""
    causes = _causes(error)
    root = causes[-1]
    reason = words(getattr(root, "strerror", None) or root or type(root).__name__)
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"shows a certificate that is not trusted ({words(cause.verify_message)}): {_for_trust(cause)}"
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return "does not answer: what is there speaks no TLS: is it the right port, or one of http or mqtt?"
    if isinstance(root, socket.gaierror):
        return f"cannot be found: {reason}: is the name right?"
    if isinstance(root, ConnectionRefusedError):
        return f"cannot be reached: {reason}: is it running, and is that its port?"
    if _no_http(error):
        return "does not answer: what is there speaks no HTTP: is it the right port?"
    if isinstance(root, TimeoutError | urllib3.exceptions.TimeoutError):
        return "does not answer in time: is it switched on, and is that its address?"
    if isinstance(root, OSError) and not isinstance(root, ConnectionError):
        return f"cannot be reached: {reason}"
    return f"does not answer: {reason}: is it a board, and is that its port?"


def _for_trust(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _OF_ANOTHER_NAME:
        return "name the board as its certificate does"
    return "name the one that vouches for it by --ca FILE"


class _EndlessError(Exception):
    """Nothing that trying again would help: no OSError."""


class _Bounded(io.RawIOBase):
    """What comes from a socket, up to its bound in bytes and in time, however slowly it drips."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._raw = connected.makefile("rb", buffering=0)
        self._until = time.monotonic() + TIMEOUT_S
        self._bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int | None:
        try:
            self._socket.settimeout(max(1e-3, self._until - time.monotonic()))
            count = self._raw.readinto(into)
        except TimeoutError:
            raise _EndlessError(f"its answer was not complete after {TIMEOUT_S:g} s") from None
        self._bytes += count or 0
        if self._bytes > MAX_ANSWER_BYTES:
            raise _EndlessError(f"its answer has more than {MAX_ANSWER_BYTES} bytes")
        if time.monotonic() > self._until:
            raise _EndlessError(f"its answer was not complete after {TIMEOUT_S:g} s")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """One that has an end, in time and in bytes, whatever its headers announce."""

    def __init__(self, sock: socket.socket, *more: Any, **named: Any) -> None:
        super().__init__(sock, *more, **named)
        self.fp.close()
        self.fp = Rationed(_Bounded(sock), MAX_ANSWER_BYTES)  # nothing is allocated that was only announced


class Connection(HTTPConnection):
    response_class = _Answer


class TlsConnection(HTTPSConnection):
    response_class = _Answer


def words(said: object) -> str:
    """What somebody else says, fit for a terminal, a file and a reader."""
    text = str(said)[:MAX_WORDS]
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _complaint(status: int, answer: bytes) -> str:
    said = _error(answer) or f"HTTP status {status}"
    if status in (401, 403):
        return f"{said}; name its token by --token-file"
    return f"{said}; is this a board?" if _error(answer) is None and 400 <= status < 500 else said


def _error(answer: bytes) -> str | None:
    found = _parsed(answer)
    return words(found["error"]) if isinstance(found, dict) and "error" in found else None


def _parsed(answer: bytes) -> Any:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        return None


def as_object(address: str, answer: bytes, key: str = "accepted") -> dict[str, Any]:
    """Of a JSON object with a truth value under `key`, as a board answers, the plain values, fit to be shown.

    Raises BoardError for all else.
    """
    found = _parsed(answer)
    if not isinstance(found, dict) or not isinstance(found.get(key), bool):
        raise BoardError(f"{address} answers with something else than a board: {answer[:80]!r}")
    plain = {name: value for name, value in found.items() if isinstance(value, str | bool)}
    return {words(name): words(value) if isinstance(value, str) else value for name, value in plain.items()}


@dataclass(frozen=True)
class Delivery:
    """What one board said."""

    board: str
    accepted: bool
    reached: bool
    answer: dict[str, Any]  # of the board
    reason: str


def publish(boards: Iterable[Board], send: Callable[[Board], dict[str, Any]]) -> list[Delivery]:
    """Let `send` give each board its parcel, several at once; what each said, in their order.

    A board takes a parcel as a whole or not at all, so one that goes away in the middle stays as it was.
    """
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="publish") as pool:
        return list(pool.map(lambda board: _delivered(board, send), boards))


def _delivered(board: Board, send: Callable[[Board], dict[str, Any]]) -> Delivery:
    try:
        answer = send(board)
    except LastlayerError as error:
        return Delivery(board.address, False, not isinstance(error, BoardError), {}, str(error))
    return Delivery(board.address, answer.get("accepted") is True, True, answer, str(answer.get("reason", "")))
