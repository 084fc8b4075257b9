"""Whose turn it is to retrain: one at a time, the others in the order in which they asked."""

import threading
import time
from collections import deque
from typing import Protocol


class Ending(Protocol):
    """What stands in the line."""

    def kill(self) -> None:
        """Have it end, without waiting for that; it leaves the line then."""

    def stop(self, timeout: float) -> None:
        """The same, and wait."""


class Turns:
    """A line, of which the first one has the turn. Each stands in it once, so it is no longer than there are tasks.

    Thread-safe.
    """

    def __init__(self) -> None:
        self._moved = threading.Condition()
        self._line: deque[Ending] = deque()

    def join(self, who: Ending) -> bool:
        """Stand at the end of the line; whether it is the turn of `who` at once."""
        with self._moved:
            self._line.append(who)
            return self._line[0] is who

    def has_come(self, who: Ending) -> bool:
        """Whether it is the turn of `who`."""
        with self._moved:
            return bool(self._line) and self._line[0] is who

    def wait(self, who: Ending) -> None:
        """Until it is the turn of `who`, or `who` has left the line."""
        with self._moved:
            self._moved.wait_for(lambda: who not in self._line or self._line[0] is who)

    def leave(self, who: Ending) -> None:
        """The next one has the turn, if it was that of `who`."""
        with self._moved:
            if who in self._line:
                self._line.remove(who)
                self._moved.notify_all()

    def stop(self, timeout: float) -> None:
        """End all of them, the last first, so that none gets the turn of another meanwhile."""
        deadline = time.monotonic() + timeout
        with self._moved:
            line = tuple(reversed(self._line))
        for who in line:
            who.kill()
        for who in line:
            who.stop(max(0.0, deadline - time.monotonic()))
