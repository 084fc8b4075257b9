"""The inbox: a bounded number of frames may be under way, the rest is refused and counted."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from agent.errors import BusyError


class Inbox:
    """Room for `capacity` frames. `dropped` counts those that found none. Thread-safe."""

    def __init__(self, capacity: int) -> None:
        self.dropped = 0
        self._capacity = capacity
        self._room = threading.BoundedSemaphore(capacity)
        self._counting = threading.Lock()

    @contextmanager
    def room(self, wait_s: float) -> Iterator[None]:
        """Room for one frame while the block runs. Raises BusyError where there is none within `wait_s`."""
        if not self._room.acquire(timeout=wait_s):
            with self._counting:
                self.dropped += 1
            raise BusyError(f"{self._capacity} frames are under way already: send fewer, or try again in a second")
        try:
            yield
        finally:
            self._room.release()
