"""Room for records: new segments, the quota, and compaction."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from agent.board.files import sync_folder
from agent.cache import bookkeeping, compaction, quota
from agent.cache.changes import Changes
from agent.cache.contents import Contents
from agent.cache.flash import reuse, segment
from agent.cache.flash.layout import PAGE_BYTES, Header, Layout
from agent.cache.flash.segment import Segment
from agent.cache.flash.wear import Wear
from agent.cache.part import empty_part
from agent.config import CacheConfig
from agent.errors import StateError

log = logging.getLogger(__name__)

_FEW = 16  # records that come at once; more fill pages by themselves
_MOST_INTERLEAVED = 16  # segments: opening a cache reads all of each
_LONG_JOURNAL_BYTES = 1 << 20  # then it is shortened by compacting whatever is out of date


class Space:
    """The files of a cache that is written. `lock` guards the contents, and is held for short times only."""

    def __init__(
        self,
        folder: Path,
        layout: Layout,
        config: CacheConfig,
        contents: Contents,
        changes: Changes,
        wear: Wear,
        lock: threading.RLock,
    ) -> None:
        self.compactions = 0
        self._folder = folder
        self._layout = layout
        self._config = config
        self._contents = contents
        self._changes = changes
        self._wear = wear
        self._lock = lock
        self._compacting = threading.Lock()  # taken before the lock, held for as long as a compaction takes

    @property
    def _segment_bytes(self) -> int:
        most = self._config.max_bytes
        return segment.TARGET_BYTES if most is None else min(segment.TARGET_BYTES, most // 16)

    def compact(self, should_stop: Callable[[], bool]) -> bool:
        """Compact some segments, if that is worth it and within the day's budget; whether it was done."""
        with self._compacting:
            self._evict(self._segment_bytes, should_stop)
            left = self._config.compact_bytes_per_day - self._wear.compacted_today_bytes
            long_journal = self._changes.journal_bytes > _LONG_JOURNAL_BYTES
            return self._compact_once(min(compaction.OUTPUT_BYTES, left), should_stop, eager=long_journal)

    def reserve(self, count: int) -> None:
        """Make segments until so many records have room. With the lock held."""
        room = self._contents.room
        waiting = sum(part.segment.interleaved for part in self._contents.parts)
        interleaved = count < _FEW and waiting < _MOST_INTERLEAVED
        while room < count:
            made = self._interleaved() if interleaved else self._plain()
            self._contents.number += 1
            self._wear.wrote(segment.head_bytes(made.header) + PAGE_BYTES)
            self._contents.parts.append(empty_part(made))
            room += made.capacity

    def _plain(self) -> Segment:
        capacity = segment.capacity_for(self._layout, self._segment_bytes)
        return segment.create(self._next_path, Header(self._layout, capacity))

    def _interleaved(self) -> Segment:
        capacity = segment.capacity_for(self._layout, min(segment.INTERLEAVED_BYTES, self._segment_bytes))
        return segment.create(self._next_path, Header(self._layout, capacity, interleaved=True))

    @property
    def _next_path(self) -> Path:
        return self._folder / f"{self._contents.number:08d}.seg"

    def make_room(self, count: int) -> None:
        """Within the quota, for so many records. Without the lock."""
        if self._config.max_bytes is None:
            return
        with self._lock:
            room = self._contents.room
        capacity = segment.capacity_for(self._layout, self._segment_bytes)
        missing = -(-max(0, count - room) // capacity)
        if missing > self._config.max_bytes // self._segment_bytes - 2:  # known before anything is evicted for it
            raise StateError(f"the cache {self._folder} may take {self._config.max_bytes} bytes: too few for these")
        if missing:
            with self._compacting:
                self._evict(missing * self._segment_bytes, _never)

    def _evict(self, needed: int, should_stop: Callable[[], bool]) -> None:
        """Let so many bytes, and a compacted segment, fit into the quota. With _compacting, without the lock."""
        most = self._config.max_bytes
        if most is None:
            return
        capacity = segment.capacity_for(self._layout, self._segment_bytes)
        while self._contents.bytes + needed > most - self._segment_bytes:
            if self._remove_empty():
                continue
            if self._compact_once(self._segment_bytes, should_stop, eager=True):
                continue
            if should_stop():
                return
            with self._lock:
                found = quota.victims(self._contents.parts, max(capacity, self._contents.count // 16))
                if not found:
                    raise StateError(f"the cache {self._folder} may take {most} bytes, and these examples need more")
                frames = [f"{f:016x}" for part, rows in found for f in part.entries["frame_id"][rows].tolist()]
                self._changes.say({"op": "delete", "frame_ids": frames})
                self._wear.evicted(len(frames))
            log.info("%d examples of the largest labels were evicted: the cache may take %d bytes", len(frames), most)

    def _remove_empty(self) -> bool:
        """Give the space of a segment back that waits to be filled; False where there is none."""
        with self._lock:
            for part in self._contents.parts:
                if part.segment.interleaved and not part.used:
                    self._contents.parts.remove(part)
                    part.segment.path.unlink()
                    sync_folder(self._folder)
                    return True
        return False

    def _compact_once(self, most_bytes: int, should_stop: Callable[[], bool], *, eager: bool) -> bool:
        """With _compacting, without the lock."""
        with self._lock:
            sources = compaction.choose(self._contents.parts, most_bytes // self._layout.record.itemsize, eager=eager)
            if not sources:
                return False
            plan = compaction.planned(sources, self._changes.next_sequence(), self._contents.number)
            self._contents.number += 1
        part = compaction.rewrite(plan, self._folder, self._layout, should_stop) if plan.count else None
        if plan.count and part is None:
            return False
        with self._lock:
            kept = [each for each in self._contents.parts if each not in sources]
            for tombstone in bookkeeping.tombstones(sources, kept):
                self._changes.write(tombstone)
            if part is not None:
                segment.publish(part.segment, self._folder / f"{plan.number:08d}.seg")
                self._wear.wrote(part.segment.size_bytes, compacting=True)
                compaction.catch_up(plan, part)
            self._contents.parts = sorted([*kept, *([part] if part else [])], key=lambda each: each.segment.number)
            self.compactions += 1
            oldest = self._contents.sequence
        empty = reuse.emptied((source.segment for source in sources), self._folder, oldest)
        with self._lock:
            # Numbered only now: what was made meanwhile is filled before them.
            reuse.publish(empty, self._folder, self._contents.number)
            self._contents.number += len(empty)
            self._contents.parts += map(empty_part, empty)
            self._wear.wrote(reuse.written_bytes(empty), compacting=True)
            self._changes.shorten()
        return True


def _never() -> bool:
    return False
