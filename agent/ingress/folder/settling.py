"""What changes still: it is looked at again once it has not changed for a while."""

import math
import time
from collections.abc import Iterator
from typing import Generic, TypeVar

from agent.ingress.folder.files import Version

K = TypeVar("K")


class Settling(Generic[K]):
    """Files or folders, each with the version that was seen, that wait for `seconds` by the monotonic clock.

    All wait equally long, so who came first is due first. At most `capacity` wait; what finds no room is passed over.
    Of one thread.
    """

    def __init__(self, seconds: float, capacity: int) -> None:
        self._seconds = seconds
        self._capacity = capacity
        self._waiting: dict[K, tuple[Version, float]] = {}  # until when

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def due(self) -> float:
        """When the first has waited long enough, monotonic; infinite where none waits."""
        return next((due for _, due in self._waiting.values()), math.inf)

    def wait(self, what: K, version: Version) -> None:
        """From now on; one that waits in this version already goes on waiting, another version begins anew."""
        if self.waits(what, version):
            return
        self.forget(what)
        if len(self._waiting) < self._capacity:
            self._waiting[what] = version, time.monotonic() + self._seconds

    def waits(self, what: K, version: Version) -> bool:
        return self._waiting.get(what, (None, 0))[0] == version

    def forget(self, what: K) -> None:
        self._waiting.pop(what, None)

    def pop_due(self) -> Iterator[tuple[K, Version]]:
        """Those that have waited long enough, in the version in which they began to wait."""
        now = time.monotonic()
        while self.due <= now:
            what = next(iter(self._waiting))
            yield what, self._waiting.pop(what)[0]
