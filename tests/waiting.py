"""Waiting for what has no event to wait on."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(ask: Callable[[], T | None], timeout: float, every: float = 0.02) -> T:
    """What `ask` gives once that is neither None nor false. Raises AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    never = threading.Event()
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"still {answer!r} after {timeout} s"
        never.wait(every)
    return answer
