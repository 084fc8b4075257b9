import numpy as np

from agent.learning.running.pausing import COOLER_C, LATENCY_PAUSE_S, LEAST_FRAMES, Conditions, Limits, Pausing
from agent.learning.running.retraining import Retraining
from agent.learning.running.turns import Turns
from agent.records import Result, Seen
from tests.daemon import PATIENCE_S
from tests.learning.running.conftest import Play
from tests.waiting import until

ALL_WELL = Limits(above_c=80, below_free_bytes=100 << 20, latency_factor=3)


class Board:
    """What a board feels, and Conditions that feel it."""

    def __init__(self, limits: Limits = ALL_WELL) -> None:
        self.temperature_c: float | None = 50.0
        self.free_bytes: int | None = 1 << 30
        self.now = 0.0
        self.conditions = Conditions(limits, lambda: self.temperature_c, lambda: self.free_bytes, lambda: self.now)

    def frames(self, ms: float, *, disturbed: bool) -> None:
        for _ in range(LEAST_FRAMES):
            self.conditions.latency.add(ms, disturbed=disturbed)

    def reason(self) -> str | None:
        return self.conditions.reason_to_pause()


def test_a_cool_board_with_memory_and_fast_frames_goes_on() -> None:
    assert Board().reason() is None


def test_heat_pauses_until_it_is_cooler_by_a_distance() -> None:
    board = Board()
    board.temperature_c = 80.5
    assert "80 °C, the limit is 80" in (board.reason() or "")
    board.temperature_c = 80 - COOLER_C + 0.5
    assert board.reason() is not None
    board.temperature_c = 80 - COOLER_C - 0.5
    assert board.reason() is None
    board.temperature_c = 79.0
    assert board.reason() is None


def test_short_memory_pauses_until_there_is_more_by_a_distance() -> None:
    board = Board()
    board.free_bytes = 99 << 20
    assert "99 MB are free, the limit is 100" in (board.reason() or "")
    board.free_bytes = 110 << 20
    assert board.reason() is not None
    board.free_bytes = 130 << 20
    assert board.reason() is None


def test_what_cannot_be_felt_does_not_pause() -> None:
    board = Board()
    board.temperature_c = board.free_bytes = None
    assert board.reason() is None


def test_all_reasons_are_said() -> None:
    board = Board()
    board.temperature_c, board.free_bytes = 90.0, 0
    assert "hot" in (board.reason() or "")
    assert "memory" in (board.reason() or "")


def test_slow_frames_pause_for_a_while_and_are_then_measured_anew() -> None:
    board = Board()
    board.frames(10.0, disturbed=False)
    board.frames(31.0, disturbed=True)
    assert "3 times" in (board.reason() or "")
    board.now = LATENCY_PAUSE_S - 0.1
    assert board.reason() is not None
    board.now = LATENCY_PAUSE_S
    assert board.reason() is None
    board.frames(29.0, disturbed=True)
    assert board.reason() is None
    board.frames(31.0, disturbed=True)
    board.frames(31.0, disturbed=True)
    assert board.reason() is not None


def test_a_few_frames_or_none_without_a_retraining_tell_nothing() -> None:
    board = Board()
    board.frames(1000.0, disturbed=True)
    assert board.reason() is None
    for _ in range(LEAST_FRAMES - 1):
        board.conditions.latency.add(1.0, disturbed=False)
    assert board.reason() is None
    board.conditions.latency.add(1.0, disturbed=False)
    assert board.reason() is not None


def test_a_single_slow_frame_is_not_the_95th_percentile() -> None:
    board = Board()
    board.frames(10.0, disturbed=False)
    board.frames(10.0, disturbed=True)
    board.frames(10.0, disturbed=True)
    board.conditions.latency.add(500.0, disturbed=True)
    assert board.reason() is None


def test_without_a_factor_frames_may_take_as_long_as_they_like() -> None:
    board = Board(Limits(latency_factor=0))
    board.frames(1.0, disturbed=False)
    board.frames(1000.0, disturbed=True)
    assert board.reason() is None


# Of several tasks


def begin(*retrainings: Retraining) -> None:
    for retraining in retrainings:
        retraining.start(on_progress=lambda status: None, on_phases=lambda phases: None, on_done=lambda written: None)


def see(pausing: Pausing, ms: float, *, skipped: bool = False) -> None:
    """As many frames as must be seen, each of which took so long."""
    timings = {"decode": ms, "session_run": 0.0, "result_processing": 0.0}
    result = Result("0" * 16, "", 0, None, (), True, timings, skipped=skipped)
    for _ in range(LEAST_FRAMES):
        pausing.watch_frame(Seen(result, np.zeros(1), 0))


def test_the_one_that_runs_pauses_whichever_it_is_and_what_waits_stays_where_it_is(playing: Play) -> None:
    turns, board = Turns(), Board()
    gate, spaces = (playing("import time; time.sleep(1000)", turns) for _ in range(2))
    pausing = Pausing([spaces, gate], board.conditions)
    try:
        begin(gate, spaces)
        board.temperature_c = 90.0
        pausing.look()
        assert (gate.status()["state"], spaces.status()["state"]) == ("paused", "queued")
        gate.cancel()
        until(lambda: spaces.is_running, PATIENCE_S)
        pausing.look()
        assert "hot" in spaces.status()["reason"]
        board.temperature_c = 50.0
        pausing.look()
        assert spaces.is_running
    finally:
        turns.stop(PATIENCE_S)


def test_frames_are_disturbed_where_any_of_them_runs(playing: Play) -> None:
    turns, board = Turns(), Board()
    gate, spaces = (playing("import time; time.sleep(1000)", turns) for _ in range(2))
    pausing = Pausing([gate, spaces], board.conditions)
    try:
        see(pausing, 10.0)
        begin(spaces)
        see(pausing, 31.0)
        begin(gate)
        pausing.look()
        assert "3 times" in spaces.status()["reason"]
        see(pausing, 31.0)  # while it pauses: quiet
        board.now = LATENCY_PAUSE_S
        pausing.look()
        assert spaces.is_running
        see(pausing, 0.01, skipped=True)
        pausing.look()
        assert spaces.is_running
    finally:
        turns.stop(PATIENCE_S)
