"""A segment as it is known in memory: its records without their bottlenecks, 40 bytes each; and how it gets there."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.cache.flash import segment_io
from agent.cache.flash.layout import ENTRY
from agent.cache.flash.segment import Segment

SAID = 1  # flags: somebody said the split
RELABELLED = 2  # in memory only: the label is not the one on flash
DROPPED = 4  # in memory only: deleted, evicted, or superseded by a later record of the same frame
ROTTEN = 8  # in memory only: the checksum is wrong
SYNCED_BEFORE = 16  # all records before this one were on flash when it was written
VOID = 32  # no record: one that a power cut tore, never acknowledged, stood here
FINITE = 64  # all values of the bottleneck are; else nobody has looked (it came from an earlier version)


class Part:
    """The entries [capacity] of one segment, as they stand now; the first `used` hold records."""

    def __init__(self, opened: Segment, entries: NDArray[Any], used: int) -> None:
        self.segment = opened
        self.entries = entries
        self.used = used
        self.synced = used  # of these it is known that they are on flash
        self.torn: dict[int, bytes] = {}  # rows that were begun and never acknowledged: what stands in their entries
        # Frame ids, ascending, and their rows: 12 bytes a record, once all are there and the first is looked for.
        self._by_frame: tuple[NDArray[np.uint64], NDArray[np.uint32]] | None = None

    @property
    def is_full(self) -> bool:
        return self.used >= self.segment.capacity

    def column(self, name: str) -> NDArray[Any]:
        """[used], a view."""
        found: NDArray[Any] = self.entries[name][: self.used]
        return found

    def usable(self) -> NDArray[np.bool_]:
        """[used]"""
        usable: NDArray[np.bool_] = (self.column("flags") & (DROPPED | ROTTEN | VOID)) == 0
        return usable

    def dropped(self) -> NDArray[np.bool_]:
        """[used] deleted, but still there."""
        dropped: NDArray[np.bool_] = (self.column("flags") & (DROPPED | ROTTEN | VOID)) == DROPPED
        return dropped

    def stale(self) -> int:
        """How many records a compaction would drop or change."""
        return int(((self.column("flags") & (DROPPED | ROTTEN | RELABELLED | VOID)) != 0).sum())

    def rows_of(self, frame_id: int) -> list[int]:
        """The rows of a frame; in a full part without looking at all of them."""
        wanted = np.uint64(frame_id)
        if not self.is_full:
            return [int(row) for row in np.flatnonzero(self.column("frame_id") == wanted)]
        if self._by_frame is None:
            order = np.argsort(self.column("frame_id"), kind="stable").astype(np.uint32)
            self._by_frame = self.column("frame_id")[order], order
        frame_ids, rows = self._by_frame
        at, found = int(frame_ids.searchsorted(wanted)), []
        while at < len(rows) and frame_ids[at] == wanted:
            found.append(int(rows[at]))
            at += 1
        return found

    def take_back(self, used: int) -> None:
        """Forget the rows from `used` on."""
        self.entries[used : self.used] = np.zeros(1, ENTRY)
        self.used, self._by_frame = used, None

    def mark(self, rows: NDArray[Any] | int, flag: int) -> None:
        self.entries["flags"][rows] |= flag

    def relabel(self, rows: NDArray[Any], label: int) -> None:
        rows = rows[self.entries["label"][rows] != label]
        self.entries["label"][rows] = label
        self.mark(rows, RELABELLED)


def void_entries(count: int, sequence: int) -> NDArray[Any]:
    """[count]"""
    entries = np.zeros(count, ENTRY)
    entries["sequence"], entries["flags"] = sequence, VOID
    return entries


def empty_part(opened: Segment) -> Part:
    return Part(opened, np.zeros(opened.capacity, ENTRY), 0)


def load_parts(opened: Sequence[Segment]) -> tuple[list[Part], int]:
    """The parts of segments in their order, and how many of their records are torn. Raises OSError.

    Segments are filled one after the other, and one is on flash before the next is begun. So bottlenecks are read
    and checked only where the last record is; those of the others are checked when they are first asked for.
    """
    # The last one first: where something stands in a segment, those before it are complete, also while one writes.
    found = {each.number: segment_io.read_entries(each) for each in reversed(opened)}
    grown = [at for at, each in enumerate(opened) if found[each.number].begun.any() and not each.compacted]
    last_grown = max(grown, default=-1)
    parts = []
    for at, each in enumerate(opened):
        if each.compacted or at < last_grown:
            parts.append(_full_part(each, found[each.number]))
        else:
            parts.append(_growing_part(each, found[each.number].begun))
    return parts, sum(len(part.torn) for part in parts)


def _full_part(opened: Segment, read: segment_io.Read) -> Part:
    return Part(opened, _in_memory(read, read.intact), opened.capacity)


def _growing_part(opened: Segment, begun_before: NDArray[np.bool_]) -> Part:
    """What stands in the rows up to the last one that was begun when they were first looked at.

    They are read again: so a row is complete if one behind it says that it is on flash, also while somebody writes.
    """
    reached = int(np.flatnonzero(begun_before)[-1]) + 1 if begun_before.any() else 0
    read = segment_io.read_entries(opened)
    entries = read.entries[:reached]
    void = (entries["flags"] & VOID) != 0
    good = read.intact[:reached] & (void | ~segment_io.bad_bottlenecks(opened, entries))
    rows = np.flatnonzero(good)
    used = int(rows[-1]) + 1 if len(rows) else 0
    # What is not intact before this row is rotten; of what is behind it perhaps nobody was told that it is there.
    acknowledged = int(max(rows[(entries["flags"][rows] & SYNCED_BEFORE) != 0], default=0))
    torn = [row for row in np.flatnonzero(~good).tolist() if row >= acknowledged and (row < used or read.begun[row])]
    stands = {row: entries[row].tobytes() for row in torn}
    kept = np.zeros(opened.capacity, ENTRY)  # what is not written to takes no memory
    kept[:used] = _in_memory(read, np.pad(good, (0, opened.capacity - reached)))[:used]
    part = Part(opened, kept, used)
    part.torn = stands
    part.entries[[row for row in torn if row < used]] = void_entries(1, 0)
    return part


def _in_memory(read: segment_io.Read, good: NDArray[np.bool_]) -> NDArray[Any]:
    """The entries [capacity]; nothing is believed of one that is not intact."""
    read.entries["flags"] &= SAID | VOID | FINITE
    read.entries[~read.intact] = np.zeros(1, ENTRY)
    read.entries["flags"][~good] |= ROTTEN
    return read.entries
