import os

import pytest

from trainer.quiet import quiet


def test_nothing_gets_out_meanwhile_and_everything_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    print("before", flush=True)  # noqa: T201
    with quiet():
        os.write(1, b"noise")
        os.write(2, b"noise")
    os.write(1, b"after")
    assert capfd.readouterr() == ("before\nafter", "")


def test_an_error_inside_gets_out(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), quiet():
        _ = 1 / 0
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"
