"""What was said of records after they were written (relabelled, deleted), as it changes the parts of a cache.

It is applied by the sequence numbers that records and journal entries share: an entry speaks of the records that have a
lower number than it.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.cache.flash.journal import Entry
from agent.cache.part import DROPPED, Part

_FEW = 16  # frames that are sooner looked up one by one


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
