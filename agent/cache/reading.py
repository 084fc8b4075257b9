"""Examples from flash: as a training asks for them, and in pages for whoever takes them elsewhere.

Bottlenecks are gathered in blocks by preadv, sorted by place, never mapped, and checked when they are first read.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.cache.contents import Contents
from agent.cache.flash import segment_io
from agent.cache.flash.layout import Layout
from agent.cache.flash.segment import Segment
from agent.cache.part import FINITE, SAID, Part
from agent.errors import StateError
from agent.learning.pictures.sides import sides
from agent.learning.training.examples import BLOCK_ROWS
from agent.learning.training.splitting import lent
from agent.records import SPLITS, Example

log = logging.getLogger(__name__)

NAMED = 10  # of frame ids that are told

_AHEAD_BYTES = 8 << 20


class CachedExamples:
    """The examples of a cache as a training sees them (examples.Examples), read from flash as they are asked for.

    Those whose bottlenecks are not finite, as earlier versions kept them, are not among them: `not_finite` are their
    frame ids. What is read for the first time is checked. Where a record is rotten, another of its label and split is
    given in its place; `rotten` are the rows that were found so. What was deleted and is still on flash can be read
    too, as the rows behind all examples: `departed` are their frames. Used by one thread at a time.
    """

    def __init__(self, layout: Layout, parts: list[Part], names: dict[int, str]) -> None:
        self.size = layout.size
        self.dtype = np.dtype(layout.dtype)
        self.scale = layout.scale
        self.zero_point = layout.zero_point
        self.backbone_id = layout.backbone_id
        self.rotten: list[int] = []
        self._next_row = self._fetched = 0  # of reading in order: where it goes on, and how far the kernel was asked
        self._segments = [part.segment.view() for part in parts]
        # A place is the number of a record if all segments were one; 32 bits reach for 4 billion.
        self._bases = np.cumsum([0, *(each.capacity for each in self._segments)], dtype=np.int64)
        usable = [np.flatnonzero(part.usable()).astype(np.uint32) for part in parts]
        dropped = [np.flatnonzero(part.dropped()).astype(np.uint32) for part in parts]
        self.not_finite: list[str] = []  # 16 hex digits each
        if self.dtype.kind == "f":
            self._pass_over(parts, usable, dropped)

        def column(name: str, dtype: type, chosen: list[NDArray[np.uint32]] = usable) -> NDArray[Any]:
            columns = [part.column(name)[rows] for part, rows in zip(parts, chosen, strict=True)]
            return np.concatenate([np.empty(0, dtype), *columns])

        self.count = sum(map(len, usable))
        bases = [*self._bases[:-1], *self._bases[:-1]]
        places = [rows + np.uint32(base) for rows, base in zip([*usable, *dropped], bases, strict=True)]
        self._places = np.concatenate([np.empty(0, np.uint32), *places])
        self._crcs = np.concatenate([column("bottleneck_crc", np.uint32, each) for each in (usable, dropped)])
        self._checked = np.zeros(len(self._places), np.bool_)
        indices = column("label", np.uint16)
        used = np.flatnonzero(np.bincount(indices, minlength=1))
        self.labels = tuple(names[index] for index in used.tolist()) if self.count else ()
        classes = np.zeros(1 << 16, np.int32)
        classes[used] = np.arange(len(used))
        self.targets: NDArray[np.int32] = classes[indices]  # [N] class indices into `labels`
        said = (column("flags", np.uint8) & SAID) != 0
        found = sides(column("group", np.uint64), column("split", np.uint8), said)
        self.splits = lent(self.targets, found, fixed=said)  # [N] indices into records.SPLITS, or HELD_BACK
        self._frame_ids: NDArray[np.uint64] | None = column("frame_id", np.uint64)
        self._moved: dict[int, int] = {}  # rows in whose place another example is read: where they are themselves
        self.departed: NDArray[np.uint64] = column("frame_id", np.uint64, dropped)

    def _pass_over(self, parts: list[Part], *rows_of_parts: list[NDArray[np.uint32]]) -> None:
        """Take those rows out of the lists [n] of each that hold what is not finite; of `usable`, the first, they are
        named."""
        for number, (part, opened) in enumerate(zip(parts, self._segments, strict=True)):
            for rows_of in rows_of_parts:
                rows = rows_of[number]
                bad = not_finite(part, opened, rows)
                rows_of[number] = np.setdiff1d(rows, bad)
                if rows_of is rows_of_parts[0]:
                    self.not_finite += [f"{frame_id:016x}" for frame_id in part.column("frame_id")[bad].tolist()]
        if self.not_finite:
            log.warning("%s", of_not_finite(self.not_finite))

    @property
    def frame_ids(self) -> NDArray[np.uint64]:
        """[N]. Raises StateError where flash cannot be read."""
        if self._frame_ids is not None:
            return self._frame_ids
        places = self._places[: self.count].copy()
        places[list(self._moved)] = list(self._moved.values())
        edges = np.searchsorted(places, self._bases.astype(np.uint32))  # of the same type: nothing is converted
        found = np.empty(self.count, np.uint64)
        try:
            for number, opened in enumerate(self._segments):
                first, last = edges[number : number + 2]
                entries = segment_io.read_entries(opened).entries
                found[first:last] = entries["frame_id"][places[first:last] - np.uint32(self._bases[number])]
        except OSError as error:
            raise StateError(f"the cache cannot be read: {error.strerror or error}") from error
        return found

    def forget_frame_ids(self) -> None:
        self._frame_ids = None

    def read(self, rows: NDArray[np.intp], out: NDArray[Any]) -> NDArray[Any]:
        """Fill and return `out` [B, D] with the stored bottlenecks of `rows` [B], in any order.

        Raises StateError where flash cannot be read, or what was deleted is rotten.
        """
        if not out.flags.c_contiguous:
            out[:] = self.read(rows, np.empty(out.shape, out.dtype))
            return out
        try:
            self._gather(rows, out)
            self._read_ahead(rows)
            unchecked = np.flatnonzero(~self._checked[rows])
            if len(unchecked):
                self._check(rows, out, unchecked)
        except OSError as error:
            raise StateError(f"the cache cannot be read: {error.strerror or error}") from error
        return out

    def _read_ahead(self, rows: NDArray[np.intp]) -> None:
        """Where all is read in order, block by block, what comes next is fetched while this block is worked on."""
        first, last = (int(rows[0]), int(rows[-1])) if len(rows) else (0, 0)
        goes_on, self._next_row = first == self._next_row and last - first == len(rows) - 1, last + 1
        begin = max(self._fetched, self._next_row) if goes_on else self._next_row
        self._fetched = begin
        if goes_on and begin < min(self._next_row + len(rows), self.count):
            number, row = self._place(begin)
            opened = self._segments[number]
            count = min(opened.capacity - row, max(len(rows), _AHEAD_BYTES // (self.size * self.dtype.itemsize)))
            segment_io.read_ahead(opened, row, count)
            self._fetched += count

    def _place(self, row: int) -> tuple[int, int]:
        """In which segment an example is, and in which row of it."""
        place = int(self._places[row])
        number = int(np.searchsorted(self._bases, place, side="right")) - 1
        return number, place - int(self._bases[number])

    def _gather(self, rows: NDArray[np.intp], out: NDArray[Any]) -> None:
        places = self._places[rows]
        order = np.arange(len(rows))
        if np.any(places[1:] < places[:-1]):
            order = np.argsort(places, kind="stable")
            places = places[order]
        numbers = np.searchsorted(self._bases, places, side="right") - 1
        for number in np.unique(numbers).tolist():
            first, last = np.searchsorted(numbers, [number, number + 1])
            local = places[first:last].astype(np.int64) - self._bases[number]
            segment_io.gather(self._segments[number], local, order[first:last], out)

    def _check(self, rows: NDArray[np.intp], out: NDArray[Any], unchecked: NDArray[np.intp]) -> None:
        found = segment_io.checksums(out[unchecked] if len(unchecked) < len(rows) else out[: len(rows)])
        bad = unchecked[found != self._crcs[rows[unchecked]]]
        self._checked[rows[unchecked]] = True
        for at in bad.tolist():
            self._replace(int(rows[at]), out[at : at + 1])

    def _replace(self, row: int, out: NDArray[Any]) -> None:
        """Let a rotten row be another of its kind from now on; its own zero where there is none."""
        number, place = self._place(row)
        path = self._segments[number].path
        if row >= self.count:
            raise StateError(f"{path}: the record in row {place}, which was deleted, is rotten")
        log.warning("%s: the record in row %d is rotten; another of its label is used in its place", path, place)
        self.rotten.append(row)
        kind = (
            (self.targets == self.targets[row])
            & (self.splits == self.splits[row])
            & (self._places[: self.count] != self._places[row])
        )
        others = np.flatnonzero(kind)
        for other in others[np.argsort(np.abs(others - row), kind="stable")].tolist():
            self._gather(np.array([other]), out)
            if segment_io.checksums(out)[0] == self._crcs[other]:
                self._moved.setdefault(row, int(self._places[row]))
                self._places[row], self._crcs[row] = self._places[other], self._crcs[other]
                return
        out[:] = self.zero_point


def not_finite(part: Part, opened: Segment, rows: NDArray[Any]) -> NDArray[np.uint32]:
    """Which of these rows of a segment of floats hold values that are not finite; of a rotten one nobody can say.

    What was seen when it was appended is not read again. Raises OSError.
    """
    unseen = rows[(part.column("flags")[rows] & FINITE) == 0]
    found = [np.empty(0, np.uint32)]
    for first in range(0, len(unseen), BLOCK_ROWS):
        block = unseen[first : first + BLOCK_ROWS].astype(np.int64)
        raw = np.empty((len(block), opened.layout.size), opened.layout.dtype)
        segment_io.gather(opened, block, np.arange(len(block)), raw)
        odd = np.flatnonzero(~opened.layout.kept_well(raw))
        whole = segment_io.checksums(raw[odd]) == part.column("bottleneck_crc")[block[odd]]
        found.append(block[odd[whole]].astype(np.uint32))
    return np.concatenate(found)


def of_not_finite(frame_ids: Sequence[str]) -> str:
    """For people."""
    named = ", ".join(frame_ids[:NAMED]) + (f" and {len(frame_ids) - NAMED} more" if len(frame_ids) > NAMED else "")
    return (
        f"{len(frame_ids)} examples are passed over, their bottlenecks are not finite: frames {named}; "
        "`lastlayer cache delete --frame ID` removes one"
    )


def page(contents: Contents, layout: Layout, start: int, most: int) -> tuple[list[Example], int | None]:
    """The first `most` examples by their frame ids from `start` on, without rotten ones.

    With them, the frame id with which the next page begins; None behind the last. Raises OSError.
    """
    usable = [np.flatnonzero(part.usable()) for part in contents.parts]
    of_part = np.repeat(np.arange(len(usable)), [len(rows) for rows in usable])
    rows = np.concatenate([np.empty(0, np.int64), *usable])
    frame_ids = np.concatenate(
        [np.empty(0, np.uint64)]
        + [part.column("frame_id")[kept] for part, kept in zip(contents.parts, usable, strict=True)]
    )
    rest = np.flatnonzero(frame_ids >= np.uint64(start))
    ordered = rest[np.argsort(frame_ids[rest], kind="stable")]
    chosen = ordered[:most]
    found: dict[int, Example] = {}
    for number in np.unique(of_part[chosen]).tolist():
        found |= _examples_of(
            contents, contents.parts[number], np.sort(rows[chosen[of_part[chosen] == number]]), layout
        )
    following = int(frame_ids[ordered[most]]) if len(ordered) > most else None
    return [found[frame_id] for frame_id in sorted(found)], following


def _examples_of(contents: Contents, part: Part, rows: NDArray[np.int64], layout: Layout) -> dict[int, Example]:
    """The examples in these rows, by their frame ids."""
    labels = contents.names.by_label()
    cameras = {index: name for name, index in contents.names.cameras.items()}
    bottlenecks = np.empty((len(rows), layout.size), layout.dtype)
    segment_io.gather(part.segment, rows, np.arange(len(rows)), bottlenecks)
    found = {}
    kept_well = layout.kept_well(bottlenecks).tolist()
    crcs = segment_io.checksums(bottlenecks).tolist()
    for entry, bottleneck, crc, well in zip(part.entries[rows], bottlenecks, crcs, kept_well, strict=True):
        frame_id = int(entry["frame_id"])
        if crc != entry["bottleneck_crc"]:
            log.warning("%s: the record of frame %016x is rotten; it is left out", part.segment.path, frame_id)
            continue
        if not well:
            log.warning("the bottleneck of frame %016x is not finite; it is left out", frame_id)
            continue
        found[frame_id] = Example(
            f"{frame_id:016x}",
            labels[int(entry["label"])],
            bottleneck,
            int(entry["received_ms"]),
            cameras.get(int(entry["camera"]), ""),
            SPLITS[int(entry["split"])],
            bool(entry["flags"] & SAID),
            int(entry["group"]),
        )
    return found
