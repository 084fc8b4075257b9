"""Boards as the desktop reaches them, one or several at once: over HTTP with a token, or through an MQTT broker.

http://porch.lan:8080     the board itself
mqtt://broker.lan/porch   the board that the broker knows as `porch`
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

from agent.errors import LastlayerError, ServiceError
from agent.state.parcels import PAGE_EXAMPLES, Page, unpack_page

TIMEOUT_S = 60.0  # for one answer: a board judges a head before it says what it thinks of it
TRIES = 4
AT_ONCE = 8  # boards
BUSY = (429, 503)  # statuses of a board that will have time later


class BoardError(ServiceError):
    """A board that cannot be reached, or does not answer as one."""


class BoardRefusalError(LastlayerError, ValueError):
    """What a board answers to something that it does not want."""

    exit_code = 8


class Board(ABC):
    """One board. What it is asked raises BoardError where it cannot be reached, BoardRefusalError where it refuses."""

    def __init__(self, address: str) -> None:
        self.address = address

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

    def __init__(self, address: str, token: str | None, ca: Path | None) -> None:
        super().__init__(address.rstrip("/"))
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._pool = urllib3.PoolManager(timeout=TIMEOUT_S, ca_certs=None if ca is None else str(ca))

    def page(self, start: str) -> Page:
        query = urlencode({"start": start, "limit": PAGE_EXAMPLES})
        return unpack_page(self._ask("GET", f"/v1/examples?{query}"))

    def send_head(self, parcel: bytes) -> dict[str, Any]:
        return as_object(self.address, self._ask("POST", "/v1/heads", parcel))

    def send_backbone(self, parcel: bytes) -> dict[str, Any]:
        return as_object(self.address, self._ask("POST", "/v1/models", parcel))

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The body of a good answer."""
        # A connection that breaks after something was sent leaves open whether it was done: only asking is repeated.
        read = TRIES if method == "GET" else 0
        retries = urllib3.Retry(TRIES, read=read, status_forcelist=BUSY, allowed_methods=None, backoff_factor=0.5)
        try:
            answer = self._pool.request(method, self.address + path, body, headers=self._headers, retries=retries)
        except urllib3.exceptions.HTTPError as error:
            raise BoardError(f"{self.address} does not answer: {error.__cause__ or error}") from error
        if answer.status >= 300:
            raise BoardRefusalError(f"{self.address}: {_error(answer.data) or f'status {answer.status}'}")
        return answer.data


def _error(answer: bytes) -> str | None:
    try:
        return str(json.loads(answer)["error"])
    except (ValueError, KeyError, TypeError):
        return None


def as_object(address: str, answer: bytes, key: str | None = None) -> dict[str, Any]:
    """Raises BoardError for what is no JSON object, or lacks the key that a board would have put into it."""
    try:
        found = json.loads(answer)
    except ValueError:
        found = None
    if not isinstance(found, dict) or (key is not None and key not in found):
        raise BoardError(f"{address} answers with something else than a board: {answer[:80]!r}")
    return found


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
    return Delivery(board.address, bool(answer.get("accepted", True)), True, answer, str(answer.get("reason", "")))
