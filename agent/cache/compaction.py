"""Compaction: the records that still count, of some segments, become one new segment in random order.

What was relabelled gets its label on flash, what was deleted goes. The new segment names those that it replaces,
and counts from the instant of its rename, as they cease to: no crash can lose or double an example.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.cache.flash import segment, segment_io
from agent.cache.flash.layout import MAX_REPLACED, Header, Layout
from agent.cache.flash.segment import Segment
from agent.cache.part import DROPPED, FINITE, RELABELLED, ROTTEN, SAID, Part

log = logging.getLogger(__name__)

OUTPUT_BYTES = 64 << 20
FRESH_SEGMENTS = 8  # in the order of their arrival, which suits no training: as many are worth a shuffle
STALE_SHARE = 0.25
_BLOCK_ROWS = 512


@dataclass(frozen=True)
class Plan:
    """What one compaction does, as things stood when it was made."""

    sources: list[Part]
    rows: list[NDArray[np.intp]]  # of each source, those that stay
    labels: list[NDArray[np.uint16]]  # of each source, all its rows
    sequence: int  # what was said before it is in the new records, what is said later is not
    number: int  # of the new segment

    @property
    def count(self) -> int:
        return sum(map(len, self.rows))


def choose(parts: list[Part], most_records: int, *, eager: bool = False) -> list[Part]:
    """Which full segments to compact into one of at most `most_records`; none where it is not worth it.

    That is where FRESH_SEGMENTS were never shuffled, or STALE_SHARE of a segment is out of date; `eager`: any of it.
    """
    full = [part for part in parts if part.is_full and part.synced >= part.used]
    fresh = [part for part in full if not part.segment.compacted]
    stale = [part for part in full if part.stale() > (0 if eager else STALE_SHARE * part.used)]
    stale.sort(key=lambda part: part.stale() / part.used, reverse=True)
    for candidates, least in ((fresh, FRESH_SEGMENTS), (stale, 1)):
        chosen: list[Part] = []
        records = 0
        for part in candidates[:MAX_REPLACED]:
            records += int(part.usable().sum())
            if records > most_records:
                break
            chosen.append(part)
        if len(chosen) >= least:
            return chosen
    return []


def planned(sources: list[Part], sequence: int, number: int) -> Plan:
    labels = [part.column("label").copy() for part in sources]
    return Plan(sources, [np.flatnonzero(part.usable()) for part in sources], labels, sequence, number)


def rewrite(plan: Plan, folder: Path, layout: Layout, should_stop: Callable[[], bool]) -> Part | None:
    """The part of a new segment that is complete but not yet published; None where it was stopped.

    Records that turn out to be rotten are left out, and marked so in their part. Raises OSError.
    """
    while True:
        rng = np.random.default_rng(plan.number)
        number = np.repeat(np.arange(len(plan.sources)), [len(rows) for rows in plan.rows])
        order = rng.permutation(plan.count)
        origin = number[order], np.concatenate(plan.rows)[order]
        path = folder / f"{plan.number:08d}.new"
        replaced = tuple(part.segment.number for part in plan.sources)
        begun = segment.begin(path, Header(layout, plan.count, replaced))
        finished = False
        try:
            rotten = _copy(plan, begun, origin, should_stop)
            if rotten == {}:
                os.fdatasync(begun.descriptor)  # here, where no lock is held: on a card this takes seconds
                finished = True
        finally:
            if not finished:
                path.unlink(missing_ok=True)
        if rotten is None:
            return None
        if finished:
            return Part(begun, segment_io.read_entries(begun).entries, plan.count)
        for at, rows in rotten.items():
            log.warning("%s: rotten records are left out: rows %s", plan.sources[at].segment.path, rows[:10])
            plan.sources[at].mark(np.array(rows), ROTTEN)
            plan.rows[at] = np.setdiff1d(plan.rows[at], rows)


Origin = tuple[NDArray[np.intp], NDArray[np.intp]]  # of each new record: the number of its source, and its row there


def _copy(plan: Plan, target: Segment, origin: Origin, should_stop: Callable[[], bool]) -> dict[int, list[int]] | None:
    """Write all records; the rows of each source that are rotten, or None where it was stopped. Raises OSError."""
    rotten: dict[int, list[int]] = {}
    for first in range(0, plan.count, _BLOCK_ROWS):
        if should_stop():
            return None
        sources, rows = (each[first : first + _BLOCK_ROWS] for each in origin)
        records = np.zeros(len(rows), target.layout.record)
        bottlenecks = np.empty((len(rows), target.layout.size), target.layout.dtype)
        entries = records["stored"]["entry"]
        for at in np.unique(sources).tolist():
            here = np.flatnonzero(sources == at)
            here = here[np.argsort(rows[here])]
            part = plan.sources[at]
            entries[here] = part.entries[rows[here]]
            # Not what was said since: its journal entry comes later than these records, and is still to be applied.
            entries["label"][here] = plan.labels[at][rows[here]]
            segment_io.gather(part.segment, rows[here], here, bottlenecks)
            bad = segment_io.checksums(bottlenecks[here]) != entries["bottleneck_crc"][here]
            if bad.any():
                rotten.setdefault(at, []).extend(rows[here][bad].tolist())
        entries["sequence"] = plan.sequence
        entries["flags"] &= SAID | FINITE
        records["bottleneck"] = bottlenecks
        segment_io.seal(records)
        segment_io.write_rows(target, records, first)
    return rotten


def catch_up(plan: Plan, part: Part) -> None:
    """Let what was said while the records were copied hold for the copies in memory, as it does in the journal."""
    for source, rows in zip(plan.sources, plan.rows, strict=True):
        changed = (source.entries["flags"][rows] & (DROPPED | RELABELLED)) != 0
        before = {int(source.entries["frame_id"][row]): row for row in rows[changed].tolist()}
        for at in np.flatnonzero(np.isin(part.entries["frame_id"], np.fromiter(before, np.uint64, len(before)))):
            row = before[int(part.entries["frame_id"][at])]
            if source.entries["flags"][row] & DROPPED:
                part.mark(int(at), DROPPED)
            if source.entries["label"][row] != part.entries["label"][at]:
                part.relabel(np.array([at]), int(source.entries["label"][row]))
