"""The inbox: a bounded number of frames may be under way, the rest waits outside, or is dropped and counted."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from agent.errors import BusyError
from agent.records import Source


class Inbox:
    """Room for `capacity` frames, whoever brings them. Thread-safe."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._dropped: Counter[Source] = Counter()
        self._room = threading.BoundedSemaphore(capacity)
        self._counting = threading.Lock()

    @property
    def dropped(self) -> dict[Source, int]:
        """The frames of each source that found no room."""
        with self._counting:
            return dict(self._dropped)

    def drop(self, source: Source) -> None:
        """Count a frame that is given up."""
        with self._counting:
            self._dropped[source] += 1

    @contextmanager
    def room(self, source: Source, wait_s: float | None) -> Iterator[None]:
        """Room for one frame while the block runs.

        Raises BusyError, and counts the frame as dropped, where there is none within `wait_s` seconds; None waits.
        """
        if not self._room.acquire(timeout=wait_s):
            self.drop(source)
            raise BusyError(f"{self.capacity} frames are under way already: send fewer, or try again in a second")
        try:
            yield
        finally:
            self._room.release()
