import pytest

from agent.measuring.report import duration, hours, minutes
from agent.measuring.study import Spread


@pytest.mark.parametrize(
    ("ms", "std_ms", "said"),
    [
        (0.0, None, "0 µs"),
        (0.0123, None, "12.3 µs"),
        (0.84, 0.02, "840 ± 20 µs"),
        (1.0, None, "1.00 ms"),
        (8.314, 0.204, "8.31 ± 0.20 ms"),
        (999.9, None, "1000 ms"),
        (1500, 20, "1.50 ± 0.02 s"),
        (119_000, None, "119 s"),
        (514_200, 34_200, "8.57 ± 0.57 min"),
        (7_620_000, None, "2.12 h"),
        (2000 * 100_000, None, "55.6 h"),
        (153 * 3.6e6, None, "6 d 9 h"),
        (559.7 * 3.6e6, None, "23 d 8 h"),
    ],
)
def test_a_duration_takes_the_unit_that_suits(ms: float, std_ms: float | None, said: str) -> None:
    assert duration(ms, std_ms) == said


@pytest.mark.parametrize(
    ("h", "said"), [(2.2, "2.2 h"), (56, "56 h"), (140, "140 h"), (153, "6 d 9 h"), (560, "23 d 8 h")]
)
def test_hours_become_days_where_the_study_says_days(h: float, said: str) -> None:
    assert hours(h) == said


def test_minutes_are_said_as_they_were_published() -> None:
    assert minutes(Spread(8.57, 0.57)) == "8.57 ± 0.57 min"
    assert minutes(Spread(219, 16.35)) == "219 ± 16.35 min"
