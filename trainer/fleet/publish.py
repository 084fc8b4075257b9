"""A head or a backbone goes out to boards; each takes it in by its own gate."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from agent.errors import LastlayerError
from trainer.fleet.boards import Board, BoardError

AT_ONCE = 8  # boards


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
