import logging

import pytest

from agent.reporting.faults import Faults


def test_what_fails_is_said_once_until_it_has_worked_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    faults = Faults()

    def divide(by: int) -> int | None:
        return faults.attempt("dividing", lambda: 6 // by)

    answers = [divide(by) for by in (0, 0, 2, 0)]
    assert answers == [None, None, 3, None]
    assert [record.getMessage() for record in caplog.records] == [
        "dividing: ZeroDivisionError: integer division or modulo by zero",
        "dividing: works again",
        "dividing: ZeroDivisionError: integer division or modulo by zero",
    ]


def test_each_thing_that_fails_is_said_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    faults, nothing = Faults(), [0]
    for what in ("one", "other", "one"):
        assert faults.attempt(what, lambda: 1 // nothing[0]) is None
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["one", "other"]
