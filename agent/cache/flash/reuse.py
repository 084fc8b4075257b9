"""Interleaved segments that a compaction made superfluous, to be filled again.

What was written once costs no entry in the file system's journal when it is written over, and needs no zeros ahead of
it. So what is appended a little at a time, which would cost such an entry each time, goes round in the same few files.
The records that stand there have lower sequence numbers than the header says that count.
"""

import fcntl
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from agent.board.files import sync_folder
from agent.cache.flash.layout import PAGE_BYTES
from agent.cache.flash.segment import Segment, pwrite


def emptied(superfluous: Iterable[Segment], folder: Path, oldest: int) -> list[Segment]:
    """Empty segments, still without a number, made of those that are interleaved and that nobody reads.

    All others are removed. `oldest` is above the sequence numbers of all their records. A crash leaves files that count
    for nothing. Raises OSError.
    """
    freed = []
    for each in superfluous:
        if each.interleaved and _is_ours(each):
            freed.append(each)
            # Whatever becomes of its header: under this name nobody trips over it.
            each.path = each.path.rename(each.path.with_suffix(".new"))
        else:
            each.path.unlink()
    sync_folder(folder)
    return [_emptied(each, oldest) for each in freed]


def publish(empty: list[Segment], folder: Path, number: int) -> None:
    """Number them from `number` on: from now on they are there to be filled, and to be read. Raises OSError."""
    for at, each in enumerate(empty):
        each.path = each.path.rename(folder / f"{number + at:08d}.seg")
    if empty:
        sync_folder(folder)
    for each in empty:
        fcntl.flock(each.descriptor, fcntl.LOCK_UN)


def written_bytes(empty: list[Segment]) -> int:
    """What it took to make them, in whole pages."""
    return 2 * PAGE_BYTES * len(empty)


def _is_ours(segment: Segment) -> bool:
    """Whether nobody has it open for reading; nor can, from now on."""
    try:
        fcntl.flock(segment.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _emptied(segment: Segment, oldest: int) -> Segment:
    empty = Segment(segment.path, os.dup(segment.descriptor), replace(segment.header, oldest=oldest))
    empty.filled = empty.size_bytes
    pwrite(empty.descriptor, empty.header.packed(), 0)
    os.fdatasync(empty.descriptor)
    return empty
