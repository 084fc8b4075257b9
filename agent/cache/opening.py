"""Opening a cache: from the files in its folder to the parts and names in memory."""

import fcntl
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.board.files import sync_folder
from agent.cache import bookkeeping
from agent.cache.contents import Contents, Names
from agent.cache.flash import journal, segment, segment_io
from agent.cache.flash.journal import Entry
from agent.cache.flash.layout import Layout, check_layout
from agent.cache.flash.segment import Segment
from agent.cache.part import ROTTEN, Part, load_parts, void_entries
from agent.errors import BusyError, StateError

log = logging.getLogger(__name__)

_TRIES = 100  # a writer takes segments away once in many seconds; at its quota, many times in one
_LOCK_S = 5.0


@dataclass
class Look:
    """What is in the files of a cache."""

    parts: list[Part]  # of the segments that count, in order
    replaced: list[Segment]  # by one of those
    refused: list[tuple[Path, StateError]]  # what is no segment, or no longer
    entries: list[Entry]  # of the journal
    damaged: list[int]  # its lines
    journal_end: int
    journal_torn: int  # bytes of a last line

    @property
    def torn(self) -> int:
        """Records, and the line."""
        return sum(len(part.torn) for part in self.parts) + (self.journal_torn > 0)


def first_layout(folder: Path) -> Layout:
    """The layout of the cache in `folder`. Raises StateError where there is none, or it cannot be read."""
    for _ in range(_TRIES):
        paths = _paths(folder)
        for path in paths:
            try:
                return segment.open_segment(path, readonly=True).layout
            except FileNotFoundError:
                continue  # compacted this instant
            except StateError:
                raise
            except OSError as error:
                raise StateError(f"{path} cannot be read: {error.strerror or error}") from error
        if not paths:
            break
    raise StateError(f"{folder} holds no examples yet")


def as_begun(folder: Path, layout: Layout) -> Layout:
    """A layout of floats, in the type in which the cache in `folder` was begun. Raises StateError."""
    return layout.as_begun(first_layout(folder)) if _paths(folder) else layout


def read_only(folder: Path, layout: Layout) -> Contents:
    """What is in a cache, also while another process writes and compacts it. Raises StateError, OSError."""
    return _contents(folder, settled(folder), layout)


def settled(folder: Path) -> Look:
    """What was complete in the files when this began, also while another process writes and compacts them.

    What that one is about to write is not there, and not torn. Raises StateError, OSError.
    """
    found = _consistent(folder)
    if found.torn and is_written(folder):
        _forget_torn(found)
    elif found.torn:
        # Written by nobody now, but perhaps when it was looked at. Who began since cut it off first.
        again = _consistent(folder)
        still = {part.segment.number: part.torn for part in again.parts}
        for part in found.parts:
            now = still.get(part.segment.number, {})
            part.torn = {row: stands for row, stands in part.torn.items() if now.get(row) == stands}
        if (found.journal_end, found.journal_torn) != (again.journal_end, again.journal_torn):
            found.journal_torn = 0
    return found


def _forget_torn(found: Look) -> None:
    found.journal_torn = 0
    for part in found.parts:
        part.torn = {}


def _consistent(folder: Path) -> Look:
    """A look at segments that are all still there once the journal is read: so it belongs to them."""
    for _ in range(_TRIES):
        try:
            found = _look(folder, readonly=True)
            if all(
                os.path.samestat(part.segment.path.stat(), os.fstat(part.segment.descriptor)) for part in found.parts
            ):
                return found
        except FileNotFoundError:  # a compaction was faster
            continue
    raise StateError(f"{folder} changes faster than it can be read: try again")


def for_writing(folder: Path, layout: Layout) -> Contents:
    """As read_only, for the one process that writes; tidies up after a crash. Raises StateError, OSError."""
    for left in folder.glob("*.new"):
        left.unlink()
    look = _look(folder, readonly=False)
    found = _contents(folder, look, layout)
    for each in look.replaced:
        each.path.unlink()
    if look.replaced:
        sync_folder(folder)
    grown = [part for part in found.parts if (part.used or part.torn) and not part.segment.compacted]
    for part in grown[-1:]:  # one segment is on flash before the next is begun
        _mend(part, found)
    if found.torn:
        log.warning("%s: %d torn records or lines, never acknowledged, are cut off", folder, found.torn)
    return found


def _mend(part: Part, found: Contents) -> None:
    """What was begun and never acknowledged ceases to be, for good; all the rest is on flash then.

    Behind the last record it becomes waiting space again; before it, where no append will come, it is marked.
    """
    behind = [row for row in part.torn if row >= part.used]
    if behind:
        segment_io.clear_entries(part.segment, part.used, behind[-1] + 1)
    between = [row for row in part.torn if row < part.used]
    if between:
        void = void_entries(len(between), found.sequence)
        segment_io.write_entries(part.segment, void, between)
        part.entries[between] = void
        found.sequence += 1
    os.fdatasync(part.segment.descriptor)  # a killed process may have left what is not on flash


def _paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.seg"))


def _look(folder: Path, *, readonly: bool) -> Look:
    opened: list[Segment] = []
    refused: list[tuple[Path, StateError]] = []
    for path in _paths(folder):
        try:
            opened.append(segment.open_segment(path, readonly=readonly))
        except FileNotFoundError:
            raise
        except StateError as error:
            refused.append((path, error))
        except OSError as error:
            refused.append((path, StateError(f"{path} cannot be read: {error.strerror or error}")))
    gone = {number for each in opened for number in each.replaced}
    parts, _ = load_parts([each for each in opened if each.number not in gone])
    replaced = [each for each in opened if each.number in gone]
    # After the records: a label is on flash before any record that has it.
    try:
        said = journal.read(folder / "journal")
    except OSError as error:
        raise StateError(f"{folder / 'journal'} cannot be read: {error.strerror or error}") from error
    return Look(parts, replaced, refused, *said)


def _contents(folder: Path, look: Look, layout: Layout) -> Contents:
    for _, error in look.refused:
        raise error
    parts, entries = look.parts, look.entries
    opened = [*(part.segment for part in parts), *look.replaced]
    for each in opened:
        check_layout(each.layout, layout, each.path)
    if look.damaged:
        log.warning("%s: damaged lines are skipped: %s", folder / "journal", look.damaged[:10])
    names = Names()
    for entry in entries:
        names.apply(entry)
    names.reserve(*bookkeeping.numbers_in_use(parts))
    bookkeeping.drop_superseded(parts)  # first: a later record counts even where it was deleted since
    bookkeeping.apply(parts, entries)
    usable = sum(int(part.usable().sum()) for part in parts)
    rotten = len(look.damaged)
    known = np.array(sorted(names.labels.values()), np.uint16)
    for part in parts:
        part.mark(np.flatnonzero(part.usable() & ~np.isin(part.column("label"), known)), ROTTEN)  # without a name
        bad = np.flatnonzero(part.column("flags") & ROTTEN)
        if len(bad):
            log.warning("%s: %d rotten records are skipped: rows %s", part.segment.path, len(bad), bad[:10])
            rotten += len(bad)
    if usable and not any(part.usable().any() for part in parts):
        # Not skipped: what is skipped goes when it is compacted, and here that would be all.
        raise StateError(
            f"{folder / 'journal'} names no label of the {usable} examples beside it: it is damaged, gone, or another "
            f"file; put it back from a copy, or move {folder} away to begin anew"
        )
    sequences = [int(part.column("sequence").max()) for part in parts if part.used]
    said = [entry.get("seq", 0) for entry in entries]
    sequence = max(1 + max([*sequences, *said], default=0), *(each.header.oldest for each in opened), 0)
    number = 1 + max([n for each in opened for n in (each.number, *each.replaced)], default=0)
    return Contents(parts, names, sequence, number, look.torn, rotten, look.journal_end)


def is_written(folder: Path) -> bool:
    """Whether a process has the cache open for writing just now."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _flock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def locked(path: Path) -> int:
    """Take the writer's lock; it goes with the process, however that ends. Raises BusyError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    deadline = time.monotonic() + _LOCK_S
    while not _flock(descriptor, fcntl.LOCK_EX):
        # Where it can be shared, somebody only looks this instant whether anybody writes.
        if not _flock(descriptor, fcntl.LOCK_SH) or time.monotonic() > deadline:
            os.close(descriptor)
            raise BusyError(
                f"another process writes the cache {path.parent}: push pictures to the running daemon, or stop it first"
            )
        os.sched_yield()
    return descriptor


def _flock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
