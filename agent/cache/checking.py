"""Reading a whole cache to see whether it is intact."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent.cache.bookkeeping import load_parts
from agent.cache.contents import Names
from agent.cache.flash import journal, segment, segment_io
from agent.cache.flash.layout import Layout
from agent.cache.flash.segment import Segment
from agent.errors import StateError


@dataclass(frozen=True)
class Fault:
    """Something that is not as it was written."""

    file: str
    what: str
    row: int | None = None  # of a segment; of the journal, the line
    frame_id: str | None = None  # where it can still be read

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        place = "" if self.row is None else f", row {self.row}" if self.file.endswith(".seg") else f", line {self.row}"
        return f"{self.file}{place}: {self.what}" + (f" (frame {self.frame_id})" if self.frame_id else "")


def check(folder: Path) -> list[Fault]:
    """What is wrong with the cache in `folder`, having read all of it. Raises StateError where it cannot be read.

    While another process writes, a record that is on its way there may look torn.
    """
    try:
        return list(_faults(folder))
    except OSError as error:
        if isinstance(error, StateError):
            raise
        raise StateError(f"the cache {folder} cannot be read: {error.strerror or error}") from error


def _faults(folder: Path) -> Iterator[Fault]:
    entries, damaged, _, torn = journal.read(folder / "journal")
    names = Names()
    for entry in entries:
        names.apply(entry)
    for line in damaged:
        yield Fault("journal", "a damaged line", line)
    if torn:
        yield Fault("journal", f"{torn} bytes of a torn line at the end")
    opened: list[Segment] = []
    for path in sorted(folder.glob("*.seg")):
        try:
            opened.append(segment.open_segment(path, readonly=True))
        except FileNotFoundError:
            continue  # compacted this instant
        except StateError as error:
            yield Fault(path.name, str(error))
    if not opened:
        return
    layouts: dict[Layout, int] = {}
    for each in opened:
        layouts[each.layout] = layouts.get(each.layout, 0) + 1
    gone = {number for each in opened for number in each.replaced}
    live = [each for each in opened if each.number not in gone]
    known = np.array(sorted(names.labels.values()), np.uint16)
    parts = {part.segment.number: part for part in load_parts(live)[0]}
    for each in live:
        if each.layout != max(layouts, key=lambda layout: layouts[layout]):
            yield Fault(each.path.name, "made with another backbone than the rest")
        yield from _faults_of(each, parts[each.number].used, known)


def _faults_of(opened: Segment, used: int, known: Any) -> Iterator[Fault]:
    entries, intact, begun = segment_io.read_entries(opened)
    bad = segment_io.bad_bottlenecks(opened, entries[:used])
    for row in (np.flatnonzero(begun[used:]) + used).tolist():
        yield Fault(opened.path.name, "a torn record at the end", row)
    for row in range(used):
        if not intact[row]:
            yield Fault(opened.path.name, "a rotten entry", row)
        elif bad[row]:
            yield Fault(opened.path.name, "a rotten bottleneck", row, f"{int(entries['frame_id'][row]):016x}")
    for row in np.flatnonzero(intact[:used] & ~np.isin(entries["label"][:used], known)).tolist():
        frame_id = f"{int(entries['frame_id'][row]):016x}"
        yield Fault(opened.path.name, "a label without a name", row, frame_id)
