"""Reading a whole cache to see whether it is intact."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.cache import bookkeeping
from agent.cache.contents import Names
from agent.cache.flash import segment_io
from agent.cache.opening import Look, settled
from agent.cache.part import VOID, Part
from agent.cache.reading import not_finite
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

    While another process writes, it is about what was complete when this began.
    """
    try:
        return list(_faults(settled(folder)))
    except OSError as error:
        if isinstance(error, StateError):
            raise
        raise StateError(f"the cache {folder} cannot be read: {error.strerror or error}") from error


def _faults(found: Look) -> Iterator[Fault]:
    names = Names()
    for entry in found.entries:
        names.apply(entry)
    for line in found.damaged:
        yield Fault("journal", "a damaged line", line)
    if found.journal_torn:
        yield Fault("journal", f"{found.journal_torn} bytes of a torn line at the end")
    for path, error in found.refused:
        yield Fault(path.name, str(error))
    layouts = Counter(part.segment.layout for part in found.parts)
    known = np.array(sorted(names.labels.values()), np.uint16)
    for part in found.parts:
        if part.segment.layout != layouts.most_common(1)[0][0]:
            yield Fault(part.segment.path.name, "made with another backbone than the rest")
        yield from _faults_of(part, known)
    bookkeeping.drop_superseded(found.parts)
    bookkeeping.apply(found.parts, found.entries)
    for part in found.parts:
        if np.dtype(part.segment.layout.dtype).kind == "f":
            for row in not_finite(part, part.segment, np.flatnonzero(part.usable())).tolist():
                frame_id = f"{int(part.entries['frame_id'][row]):016x}"
                what = "a bottleneck that is not finite: it is passed over"
                yield Fault(part.segment.path.name, what, row, frame_id)


def _faults_of(part: Part, known: NDArray[np.uint16]) -> Iterator[Fault]:
    name, void = part.segment.path.name, (part.column("flags") & VOID) != 0
    entries = part.entries[: part.used]
    intact = segment_io.read_entries(part.segment).intact[: part.used] | void
    bad = segment_io.bad_bottlenecks(part.segment, entries) & ~void
    for row in sorted(part.torn):
        yield Fault(name, "a torn record" if row < part.used else "a torn record at the end", row)
    for row in range(part.used):
        if not intact[row]:
            yield Fault(name, "a rotten entry", row)
        elif bad[row]:
            yield Fault(name, "a rotten bottleneck", row, f"{int(entries['frame_id'][row]):016x}")
    for row in np.flatnonzero(intact & ~void & ~np.isin(entries["label"], known)).tolist():
        yield Fault(name, "a label without a name", row, f"{int(entries['frame_id'][row]):016x}")
