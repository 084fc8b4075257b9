"""Appending records, and the group commit: when they are on flash.

Threads that append at the same time share one sync. By default every append waits for it; a setting lets the last
few records wait a bounded time instead.
"""

import logging
import os
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.cache import bookkeeping
from agent.cache.flash import segment_io
from agent.cache.flash.wear import Wear
from agent.cache.part import DROPPED, SYNCED_BEFORE, Part
from agent.errors import StateError

log = logging.getLogger(__name__)

_FILL_BELOW = 4  # records synced together; with more, one entry in the file system's journal is cheaper than zeros


class Appender:
    """Writes to the last parts. `lock` guards the parts; `write` is called with it held, all else without."""

    def __init__(self, lock: threading.RLock, wear: Wear, sync_records: int, sync_ms: float) -> None:
        self._lock = lock
        self._wear = wear
        self._sync_records = sync_records
        self._sync_s = sync_ms / 1000
        self._syncing = threading.Lock()
        self._written = self._synced = 0  # records since the start
        self._lost: list[tuple[int, int]] = []  # spans of records of which the sync failed
        self._unsynced: list[Part] = []
        self._superseded: list[tuple[Part, NDArray[Any]]] = []  # by records that are not synced yet
        self._waiting = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        if sync_records > 1:
            self._thread = threading.Thread(target=self._sync_in_time, name="cache-sync", daemon=True)
            self._thread.start()

    def write(self, parts: list[Part], records: NDArray[Any]) -> int:
        """Write records to parts that have room; a ticket for `commit`. Raises OSError; then none was written."""
        superseded = bookkeeping.usable_rows(parts, records["stored"]["entry"]["frame_id"])
        begun = [(part, part.used) for part in parts if not part.is_full and not part.segment.compacted]
        rest = records
        try:
            for part, _ in begun:
                now = rest[: part.segment.capacity - part.used]
                if not len(now):
                    break
                if not part.used:  # one segment is on flash before the next is begun
                    for earlier in parts:
                        if earlier.synced < earlier.used:
                            os.fdatasync(earlier.segment.descriptor)
                self._write_to(part, now)
                rest = rest[len(now) :]
        except OSError:
            self._take_back(begun)
            raise
        for part, rows in superseded:
            part.mark(rows, DROPPED)
        self._superseded += superseded
        self._unsynced += [part for part, used in begun if part.used > used and part not in self._unsynced]
        self._written += len(records)
        return self._written

    def _write_to(self, part: Part, records: NDArray[Any]) -> None:
        if part.synced == part.used:
            records["stored"]["entry"]["flags"][0] |= SYNCED_BEFORE
        segment_io.seal(records)
        fill = len(records) < _FILL_BELOW and self._sync_records < _FILL_BELOW
        self._wear.wrote(segment_io.write_rows(part.segment, records, part.used, fill=fill))
        part.entries[part.used : part.used + len(records)] = records["stored"]["entry"]
        part.used += len(records)

    def pending(self) -> int | None:
        """A ticket for the records that are not on flash yet; None where all are."""
        with self._lock:
            return self._written if self._written > self._synced else None

    def commit(self, ticket: int) -> None:
        """Returns when the records up to a ticket are on flash, or may wait. Raises StateError; then they are gone."""
        if self._thread is not None and self._written - self._synced < self._sync_records:
            self._waiting.set()
            return
        self.sync(ticket)

    def sync(self, ticket: int | None = None) -> None:
        """Returns when all records up to a ticket, or all there are, are on flash. Raises StateError."""
        with self._syncing:
            with self._lock:
                if ticket is not None and any(low < ticket <= high for low, high in self._lost):
                    raise StateError("the cache cannot be written: its sync failed, and these examples were not kept")
                if self._synced >= (self._written if ticket is None else ticket):
                    return
                target = self._written
                unsynced = [(part, part.used) for part in self._unsynced]
                superseded = len(self._superseded)
            try:
                for part, _ in unsynced:  # another thread may append meanwhile
                    os.fdatasync(part.segment.descriptor)
            except OSError as error:
                with self._lock:
                    self._give_up()
                raise StateError(f"the cache cannot be written: {error.strerror or error}") from error
            with self._lock:
                for part, used in unsynced:
                    part.synced = max(part.synced, used)
                self._unsynced = [part for part in self._unsynced if part.synced < part.used]
                del self._superseded[:superseded]
                self._synced = target

    def _give_up(self) -> None:
        self._lost = [*self._lost, (self._synced, self._written)][-100:]
        self._synced = self._written
        for part, rows in self._superseded:
            part.entries["flags"][rows] &= ~np.uint8(DROPPED)
        self._take_back([(part, part.synced) for part in self._unsynced])
        self._superseded, self._unsynced = [], []

    def _take_back(self, begun: list[tuple[Part, int]]) -> None:
        """Forget what was written behind these places; what stands there is overwritten by the next append."""
        for part, used in begun:
            written = part.used
            part.take_back(used)
            try:
                segment_io.clear_entries(part.segment, used, min(part.segment.capacity, written + 1))
            except OSError as error:
                log.warning("%s: %s", part.segment.path, error.strerror or error)

    def _sync_in_time(self) -> None:
        while not self._stopping.is_set():
            self._waiting.wait()
            self._waiting.clear()
            self._stopping.wait(self._sync_s)
            try:
                self.sync()
            except StateError as error:
                log.error("examples that were waiting for flash are lost: %s", error)

    def stop(self, timeout: float) -> None:
        """Sync what waits, and end the thread. Idempotent. Raises StateError where the sync fails."""
        self._stopping.set()
        self._waiting.set()
        if self._thread is not None:
            self._thread.join(timeout)
            self._thread = None
        self.sync()
