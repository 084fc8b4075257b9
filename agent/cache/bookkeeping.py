"""What is known of the records of a cache without their bottlenecks: 40 bytes each, in memory, segment by segment.

What was said of examples after they were written (relabelled, deleted) is applied here, by the sequence numbers that
records and journal entries share: an entry speaks of the records that have a lower number than it.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.cache.flash import segment_io
from agent.cache.flash.journal import Entry
from agent.cache.flash.layout import ENTRY
from agent.cache.flash.segment import Segment

_FEW = 16  # frames that are sooner looked up one by one

SAID = 1  # flags: somebody said the split
RELABELLED = 2  # in memory only: the label is not the one on flash
DROPPED = 4  # in memory only: deleted, evicted, or superseded by a later record of the same frame
ROTTEN = 8  # in memory only: the checksum is wrong
SYNCED_BEFORE = 16  # all records before this one were on flash when it was written
VOID = 32  # no record: one that a power cut tore, never acknowledged, stood here


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
    part = Part(opened, _in_memory(read, np.pad(good, (0, opened.capacity - reached))), used)
    part.torn = stands
    part.entries[used:] = np.zeros(1, ENTRY)
    part.entries[[row for row in torn if row < used]] = void_entries(1, 0)
    return part


def _in_memory(read: segment_io.Read, good: NDArray[np.bool_]) -> NDArray[Any]:
    """The entries [capacity]; nothing is believed of one that is not intact."""
    read.entries["flags"] &= SAID | VOID
    read.entries[~read.intact] = np.zeros(1, ENTRY)
    read.entries["flags"][~good] |= ROTTEN
    return read.entries


def apply(parts: list[Part], entries: Iterable[Entry]) -> None:
    """Let what the journal says take effect, in its order. Entries of kinds that are not about records are passed."""
    for by_frame, run in groupby(entries, key=lambda entry: entry["op"] in ("relabel", "delete")):
        if by_frame:
            _apply_by_frame(parts, list(run))
        else:
            for entry in run:
                _apply_to_label(parts, entry)


def _apply_by_frame(parts: list[Part], entries: list[Entry]) -> None:
    said: dict[int, list[tuple[int, int | None]]] = {}  # frame id → (sequence, label, or None for a deletion)
    for entry in entries:
        for frame_id in frame_ids(entry):
            said.setdefault(frame_id, []).append((entry["seq"], entry.get("label")))
    for part, rows in _rows_of(parts, np.fromiter(said, np.uint64, len(said))):
        for row in rows.tolist():
            of_row = part.entries[row : row + 1]
            for sequence, label in said[int(of_row["frame_id"][0])]:
                if of_row["sequence"][0] >= sequence:
                    continue
                if label is None:
                    part.mark(row, DROPPED)
                else:
                    part.relabel(np.array([row]), label)


def _apply_to_label(parts: list[Part], entry: Entry) -> None:
    if entry["op"] not in ("merge", "delete_label"):
        return
    for part in parts:
        rows = np.flatnonzero((part.column("label") == entry["label"]) & (part.column("sequence") < entry["seq"]))
        if not len(rows):
            continue
        if entry["op"] == "merge":
            part.relabel(rows, entry["into"])
        else:
            part.mark(rows, DROPPED)


def frame_ids(entry: Entry) -> list[int]:
    """Which frames a journal entry speaks of."""
    return [int(text, 16) for text in entry.get("frame_ids", ())]


def _rows_of(parts: list[Part], wanted: NDArray[np.uint64]) -> Iterator[tuple[Part, NDArray[Any]]]:
    for part in parts:
        if len(wanted) <= _FEW:
            found = [row for frame_id in wanted.tolist() for row in part.rows_of(frame_id)]
            rows = np.array(sorted(found), np.intp)
        else:
            rows = np.flatnonzero(np.isin(part.column("frame_id"), wanted))
        if len(rows):
            yield part, rows


def usable_rows(parts: list[Part], wanted: NDArray[np.uint64]) -> list[tuple[Part, NDArray[Any]]]:
    """Where usable records of these frames are."""
    found = ((part, rows[part.usable()[rows]]) for part, rows in _rows_of(parts, wanted))
    return [(part, rows) for part, rows in found if len(rows)]


def still_said(parts: list[Part], entries: list[Entry]) -> list[Entry]:
    """Those entries about records that some record on flash does not reflect yet."""
    oldest = min((int(part.column("sequence").min()) for part in parts if part.used), default=1 << 32)
    open_entries = [entry for entry in entries if entry.get("seq", 0) > oldest]
    asked = np.unique(np.fromiter((f for entry in open_entries for f in frame_ids(entry)), np.uint64))
    earliest: dict[int, int] = {}  # frame id → the lowest sequence number of a record of it
    for part, rows in _rows_of(parts, asked):
        for row in rows.tolist():
            frame_id, sequence = int(part.entries["frame_id"][row]), int(part.entries["sequence"][row])
            earliest[frame_id] = min(sequence, earliest.get(frame_id, sequence))
    kept = []
    for entry in open_entries:
        if entry["op"] in ("relabel", "delete"):
            needed = [f for f in frame_ids(entry) if earliest.get(f, 1 << 32) < entry["seq"]]
            if needed:
                kept.append({**entry, "frame_ids": [f"{f:016x}" for f in needed]})
        else:
            kept.append(entry)
    return kept


def drop_superseded(parts: list[Part]) -> None:
    """Where a frame has several usable records, only the latest stays: a crash, or a late answer, may leave two."""
    frames = np.concatenate([np.empty(0, np.uint64), *(part.column("frame_id")[part.usable()] for part in parts)])
    frames.sort()
    twice = np.unique(frames[1:][frames[1:] == frames[:-1]])
    if not len(twice):
        return
    latest: dict[int, tuple[int, Part, int]] = {}
    for part, rows in usable_rows(parts, twice):
        for row in rows.tolist():
            frame_id, sequence = int(part.entries["frame_id"][row]), int(part.entries["sequence"][row])
            later, before = (sequence, part, row), latest.get(frame_id)
            if before is not None and before[0] > sequence:
                later, before = before, later
            latest[frame_id] = later
            if before is not None:
                before[1].mark(before[2], DROPPED)


def label_counts(parts: list[Part], labels: int) -> NDArray[np.int64]:
    """Usable records of each label index, [labels]."""
    counts = np.zeros(labels, np.int64)
    for part in parts:
        counts += np.bincount(part.column("label")[part.usable()], minlength=labels)[:labels]
    return counts


def numbers_in_use(parts: list[Part]) -> tuple[set[int], set[int]]:
    """Of labels and cameras: those that any record on flash carries."""
    labels, cameras = np.zeros(1 << 16, np.bool_), np.zeros(1 << 16, np.bool_)
    for part in parts:
        labels[part.column("label")] = cameras[part.column("camera")] = True
    return set(np.flatnonzero(labels).tolist()), set(np.flatnonzero(cameras).tolist())


def tombstones(going: list[Part], staying: list[Part]) -> list[Entry]:
    """Journal entries in the place of dropped records that go, where older records of their frames stay."""
    latest: dict[int, int] = {}
    for part in going:
        for row in np.flatnonzero(part.column("flags") & DROPPED).tolist():
            frame_id, sequence = int(part.entries["frame_id"][row]), int(part.entries["sequence"][row])
            latest[frame_id] = max(sequence, latest.get(frame_id, 0))
    found = {}
    for part, rows in _rows_of(staying, np.fromiter(latest, np.uint64, len(latest))):
        for frame_id, sequence in part.entries[["frame_id", "sequence"]][rows].tolist():
            if sequence < latest[frame_id]:
                found[frame_id] = latest[frame_id]
    return [{"op": "delete", "seq": above, "frame_ids": [f"{frame_id:016x}"]} for frame_id, above in found.items()]
