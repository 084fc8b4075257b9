"""Opening a cache: from the files in its folder to the parts and names in memory."""

import fcntl
import logging
import os
from pathlib import Path

import numpy as np

from agent.board.files import sync_folder
from agent.cache import bookkeeping
from agent.cache.bookkeeping import ROTTEN, Part
from agent.cache.contents import Contents, Names
from agent.cache.flash import journal, segment, segment_io
from agent.cache.flash.layout import Layout, check_layout
from agent.cache.flash.segment import Segment
from agent.errors import BusyError, StateError

log = logging.getLogger(__name__)

_TRIES = 20  # a writer changes which files there are once in many seconds


def first_layout(folder: Path) -> Layout:
    """The layout of the cache in `folder`. Raises StateError where there is none, or it cannot be read."""
    for path in sorted(folder.glob("*.seg")):
        try:
            return segment.open_segment(path, readonly=True).layout
        except FileNotFoundError:
            continue  # compacted this instant
        except StateError:
            raise
        except OSError as error:
            raise StateError(f"{path} cannot be read: {error.strerror or error}") from error
    raise StateError(f"{folder} holds no examples yet")


def read_only(folder: Path, layout: Layout) -> Contents:
    """What is in a cache, also while another process writes and compacts it. Raises StateError, OSError."""
    for _ in range(_TRIES):
        before = _listing(folder)
        try:
            opened, _ = _open_all(folder, layout, readonly=True)
            found = _loaded(folder, opened)
        except FileNotFoundError:
            continue  # a compaction was faster
        if _listing(folder) == before:  # so the journal belongs to these segments
            return found
    raise StateError(f"{folder} changes faster than it can be read: try again")


def for_writing(folder: Path, layout: Layout) -> Contents:
    """As read_only, for the one process that writes; tidies up after a crash. Raises StateError, OSError."""
    for left in folder.glob("*.new"):
        left.unlink()
    opened, replaced = _open_all(folder, layout, readonly=False)
    for each in replaced:
        each.path.unlink()
    if replaced:
        sync_folder(folder)
    found = _loaded(folder, opened)
    for part in found.parts:
        if not part.is_full:
            _cut_tail(part)
    if found.torn:
        log.warning("%s: %d torn records or lines at the end are cut off", folder, found.torn)
    return found


def _listing(folder: Path) -> set[tuple[str, int]]:
    with os.scandir(folder) as entries:
        return {(entry.name, entry.inode()) for entry in entries if entry.name.endswith(".seg")}


def _open_all(folder: Path, layout: Layout, *, readonly: bool) -> tuple[list[Segment], list[Segment]]:
    """The segments that count, in order, and those that another one replaced."""
    opened = [segment.open_segment(path, readonly=readonly) for path in sorted(folder.glob("*.seg"))]
    for each in opened:
        check_layout(each.layout, layout, each.path)
    gone = {number for each in opened for number in each.replaced}
    return [each for each in opened if each.number not in gone], [each for each in opened if each.number in gone]


def _loaded(folder: Path, opened: list[Segment]) -> Contents:
    parts, torn = bookkeeping.load_parts(opened)
    entries, damaged, end, torn_bytes = journal.read(folder / "journal")
    if damaged:
        log.warning("%s: damaged lines are skipped: %s", folder / "journal", damaged[:10])
    names = Names()
    for entry in entries:
        names.apply(entry)
    bookkeeping.drop_superseded(parts)  # first: a later record counts even where it was deleted since
    bookkeeping.apply(parts, entries)
    rotten = len(damaged)
    known = np.array(sorted(names.labels.values()), np.uint16)
    for part in parts:
        part.mark(np.flatnonzero(part.usable() & ~np.isin(part.column("label"), known)), ROTTEN)  # without a name
        bad = np.flatnonzero(part.column("flags") & ROTTEN)
        if len(bad):
            log.warning("%s: %d rotten records are skipped: rows %s", part.segment.path, len(bad), bad[:10])
            rotten += len(bad)
    sequences = [int(part.column("sequence").max()) for part in parts if part.used]
    said = [entry.get("seq", 0) for entry in entries]
    sequence = max(1 + max([*sequences, *said], default=0), *(each.header.oldest for each in opened), 0)
    number = 1 + max([n for each in opened for n in (each.number, *each.replaced)], default=0)
    return Contents(parts, names, sequence, number, torn + (torn_bytes > 0), rotten, end)


def _cut_tail(part: Part) -> None:
    """What was begun behind the last record and never acknowledged becomes waiting space."""
    _, _, begun = segment_io.read_entries(part.segment)
    if begun[part.used :].any():
        segment_io.clear_entries(part.segment, part.used, int(np.flatnonzero(begun)[-1]) + 1)
        os.fdatasync(part.segment.descriptor)


def locked(path: Path) -> int:
    """Take the writer's lock; it goes with the process, however that ends. Raises BusyError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise BusyError(
            f"another process writes the cache {path.parent}: push pictures to the running daemon, or stop it first"
        ) from None
    return descriptor
