import pytest

from agent.learning.training.progress import Pace, Progress


class Time:
    now = 0.0
    paused = 0.0


def test_what_is_left_of_a_stage_takes_as_long_as_what_is_done() -> None:
    pace = Pace(lambda: Time.paused, lambda: Time.now)
    Time.now = 10.0
    assert pace.eta_s(Progress("adam", 100, 1000)) == pytest.approx(90)
    Time.now = 15.0
    assert pace.eta_s(Progress("adam", 200, 1000)) == pytest.approx(60)
    Time.now = 65.0
    Time.paused = 50.0  # a pause does not count
    assert pace.eta_s(Progress("adam", 200, 1000)) == pytest.approx(60)
    Time.now = 115.0
    assert pace.eta_s(Progress("adam", 1000, 1000)) == 0
    Time.now = 116.0
    assert pace.eta_s(Progress("validation", 10, 20)) == pytest.approx(1)  # a stage begins where the last one ended


def test_steps_that_were_done_before_a_kill_say_nothing_of_the_pace() -> None:
    clock = iter([0.0, 10.0])
    pace = Pace(clock=lambda: next(clock))
    assert pace.eta_s(Progress("adam", 900, 1000, resumed=800)) == pytest.approx(10)
