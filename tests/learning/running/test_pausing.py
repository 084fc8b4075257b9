from agent.learning.running.pausing import COOLER_C, LATENCY_PAUSE_S, LEAST_FRAMES, Conditions, Limits

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
