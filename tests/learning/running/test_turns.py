"""Several tasks retrain one after another; the children are other programs."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent.errors import BusyError, ChildError, TrainingError
from agent.learning.running.retraining import Retraining
from agent.learning.running.turns import Turns
from tests.daemon import PATIENCE_S
from tests.learning.running.conftest import RESULT, Play, saying
from tests.waiting import until

ENDLESS, QUICK = "import time; time.sleep(1000)", saying(RESULT)


class Board:
    """Retrainings of several tasks, and what they say of themselves, in its order."""

    def __init__(self, playing: Play) -> None:
        self._playing = playing
        self.turns = Turns()
        self.tasks: dict[str, Retraining] = {}
        self.said: list[tuple[str, dict[str, Any]]] = []

    def ask(self, name: str, program: str = QUICK) -> Retraining:
        retraining = self.tasks.get(name) or self._playing(program, self.turns)
        self.tasks[name] = retraining
        retraining.start(
            on_progress=lambda status: self.said.append((name, status)),
            on_phases=lambda phases: None,
            on_done=lambda written: None,
        )
        return retraining

    def state(self, name: str) -> str:
        return str(self.tasks[name].status()["state"])

    def states(self, name: str) -> list[str]:
        """Those that it said it was in."""
        return [status["state"] for each, status in self.said if each == name]

    def order(self, state: str) -> list[str]:
        return [name for name, status in self.said if status["state"] == state]

    def wait_all_ended(self) -> None:
        until(lambda: not any(retraining.is_under_way for retraining in self.tasks.values()), PATIENCE_S)


@pytest.fixture
def board(playing: Play) -> Iterator[Board]:
    board = Board(playing)
    yield board
    board.turns.stop(PATIENCE_S)


def children() -> list[psutil.Process]:
    return psutil.Process().children()


def watching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "retraining"]


def test_they_begin_one_after_another_in_the_order_in_which_they_were_asked(board: Board) -> None:
    gate = board.ask("gate", ENDLESS)
    assert board.state("gate") == "running"
    for name in ("spaces", "feeder", "attic"):
        board.ask(name)
        status = board.tasks[name].status()
        assert (set(status), status["state"]) == ({"state", "started_ms", "pauses"}, "queued")
    assert [retraining.is_running for retraining in board.tasks.values()] == [True, False, False, False]
    assert all(retraining.is_under_way for retraining in board.tasks.values())
    assert len(children()) == 1
    asked_ms = board.tasks["attic"].status()["started_ms"]
    gate.cancel()
    board.wait_all_ended()
    assert board.order("running") == ["gate", "spaces", "feeder", "attic"]
    assert board.states("attic") == ["queued", "running", "done"]
    for former, latter in (("gate", "spaces"), ("spaces", "feeder"), ("feeder", "attic")):
        ended = max(place for place, (name, _) in enumerate(board.said) if name == former)
        began = next(
            place for place, said in enumerate(board.said) if (said[0], said[1]["state"]) == (latter, "running")
        )
        assert ended < began, "none runs before the one before it has said its end"
    assert board.tasks["attic"].status()["started_ms"] == asked_ms


def test_where_nobody_retrains_it_begins_at_once_and_says_nothing_of_a_queue(board: Board) -> None:
    for _ in range(2):
        board.ask("gate")
        board.wait_all_ended()
    assert board.states("gate") == ["running", "done"] * 2


def test_one_that_waits_is_under_way_and_not_begun_twice(board: Board) -> None:
    board.ask("gate", ENDLESS)
    board.ask("spaces")
    with pytest.raises(BusyError, match="queued already"):
        board.ask("spaces")
    board.tasks["gate"].cancel()
    board.wait_all_ended()
    assert board.order("running") == ["gate", "spaces"]


def test_one_that_waits_is_cancelled_at_once_and_stands_at_the_end_when_it_is_asked_again(board: Board) -> None:
    board.ask("gate", ENDLESS)
    for name in ("spaces", "feeder"):
        board.ask(name)
    assert board.tasks["spaces"].cancel()["state"] == "cancelled"
    assert (board.state("gate"), board.state("feeder")) == ("running", "queued")
    with pytest.raises(TrainingError, match="no retraining is running"):
        board.tasks["spaces"].cancel()
    board.ask("spaces")
    board.tasks["gate"].cancel()
    board.wait_all_ended()
    assert board.order("running") == ["gate", "feeder", "spaces"]
    assert board.states("spaces") == ["queued", "cancelled", "queued", "running", "done"]


def test_the_next_begins_when_the_child_before_it_is_killed(board: Board) -> None:
    board.ask("gate", ENDLESS)
    board.ask("spaces", ENDLESS)
    (child,) = children()
    child.kill()
    until(lambda: board.state("spaces") == "running", PATIENCE_S)
    assert board.state("gate") == "failed"
    assert [each.pid for each in children()] != [child.pid]


def test_one_that_cannot_be_started_when_its_turn_comes_has_failed_and_the_next_begins(
    board: Board, caplog: pytest.LogCaptureFixture
) -> None:
    board.ask("gate", ENDLESS)
    for name in ("spaces", "feeder"):
        board.ask(name)
    Path(board.tasks["spaces"]._command[0]).unlink()
    board.tasks["gate"].cancel()
    board.wait_all_ended()
    failed = board.tasks["spaces"].status()
    assert failed["state"] == "failed"
    assert "the retraining cannot be started" in failed["error"]
    assert "No such file" in failed["error"]
    assert board.states("spaces") == ["queued", "failed"]
    assert board.state("feeder") == "done"
    assert [record.exc_info for record in caplog.records] == [None]


def test_one_that_cannot_be_started_at_once_does_not_keep_the_turn(board: Board) -> None:
    board.tasks["gate"] = board._playing(QUICK, board.turns)
    python = Path(board.tasks["gate"]._command[0])
    python.rename(python.with_suffix(".away"))
    with pytest.raises(ChildError, match="No such file"):
        board.ask("gate")
    board.ask("spaces")
    board.wait_all_ended()
    python.with_suffix(".away").rename(python)
    board.ask("gate")
    board.wait_all_ended()
    assert board.order("done") == ["spaces", "gate"]


def test_one_for_which_no_thread_can_wait_has_failed_and_leaves_the_line(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.ask("gate", ENDLESS)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(ChildError, match="can't start new thread"):
            board.ask("spaces")
    assert board.state("spaces") == "failed"
    board.ask("feeder")
    board.tasks["gate"].cancel()
    board.wait_all_ended()
    assert board.state("feeder") == "done"


def test_all_are_ended_at_once_and_none_begins_meanwhile(board: Board) -> None:
    before = len(watching())
    for name in ("gate", "spaces", "feeder", "attic", "yard", "door", "shed", "pond"):
        board.ask(name, ENDLESS)
    assert len(watching()) - before == 8
    began = time.monotonic()
    board.turns.stop(PATIENCE_S)
    assert time.monotonic() - began < 5
    assert board.order("running") == ["gate"]
    assert sorted(board.order("cancelled")) == ["attic", "door", "feeder", "pond", "shed", "spaces", "yard"]
    assert children() == []
    assert len(watching()) == before


def test_a_pause_is_of_the_one_that_runs(board: Board) -> None:
    gate, spaces = board.ask("gate", ENDLESS), board.ask("spaces", ENDLESS)
    for retraining in (gate, spaces):
        retraining.pause("it is hot")
    assert (board.state("gate"), board.state("spaces")) == ("paused", "queued")
    gate.cancel()
    until(lambda: spaces.is_running, PATIENCE_S)
    assert "reason" not in spaces.status()
    spaces.pause("it is hot")
    assert (spaces.status()["state"], spaces.status()["pauses"]) == ("paused", 1)


def test_a_turn_that_nobody_has_asked_for_is_nobodys(board: Board, playing: Play) -> None:
    stranger = playing(QUICK)
    board.turns.leave(stranger)
    board.turns.wait(stranger)
    assert not board.turns.has_come(stranger)
    stranger.stop(PATIENCE_S)
    assert stranger.status() == {"state": "idle"}
