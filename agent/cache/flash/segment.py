"""A segment: one file of fixed-size records, the cache's unit on flash. docs/cache.md describes the format.

Here is its file, in header.py its first page, in segment_io.py the records in it; what they mean is the cache's
business.
"""

import contextlib
import fcntl
import os
import weakref
from pathlib import Path

from agent.board.files import sync_folder
from agent.cache.flash.layout import PAGE_BYTES, Header, Layout
from agent.errors import StateError

TARGET_BYTES = 8 << 20
INTERLEAVED_BYTES = 1 << 20  # opening a cache reads all of it
FILL_BYTES = 64 << 10


class Segment:
    """An open segment file. Its descriptor is closed with the last reference to it, so that views go on reading."""

    def __init__(self, path: Path, descriptor: int, header: Header, *, readonly: bool = False) -> None:
        self.path = path
        self.readonly = readonly
        self.descriptor = descriptor
        self.header = header
        self.layout = header.layout
        self.capacity = header.capacity
        self.compacted = header.replaced is not None  # all of it was there before it had its name
        self.replaced = header.replaced or ()  # numbers of the segments that do not count beside this one
        self.size_bytes = header.size_bytes
        self.filled = 0  # bytes of the file up to which zeros or records were written before, as far as is known
        self._entry_stride = header.entry_stride
        self._bottlenecks_offset = header.bottlenecks_offset
        self._bottleneck_stride = header.bottleneck_stride
        weakref.finalize(self, os.close, descriptor)

    @property
    def number(self) -> int:
        return int(self.path.stem)

    @property
    def interleaved(self) -> bool:
        return self.header.interleaved

    def view(self) -> "Segment":
        """The same to read from: its file is not used again before the view is gone. Raises StateError, OSError."""
        return self if self.readonly or not self.interleaved else open_segment(self.path, readonly=True)

    def entry_offset(self, row: int) -> int:
        return PAGE_BYTES + row * self._entry_stride

    def bottleneck_offset(self, row: int) -> int:
        return self._bottlenecks_offset + row * self._bottleneck_stride


def capacity_for(layout: Layout, size_bytes: int) -> int:
    """How many records a segment of about so many bytes holds; 16 at least."""
    return max(16, (size_bytes - 2 * PAGE_BYTES) // layout.record.itemsize)


def create(path: Path, header: Header) -> Segment:
    """Make an empty, pre-allocated segment, open for reading and writing; it is on flash. Raises OSError."""
    created = begin(path.with_suffix(".new"), header)
    publish(created, path)
    return created


def begin(path: Path, header: Header) -> Segment:
    """As create, but it does not count until it is published."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    begun = Segment(path, descriptor, header)
    try:
        # Space that is there already: an append changes no size, and a disk that fills up does not stop it.
        os.posix_fallocate(descriptor, 0, begun.size_bytes)
        pwrite(descriptor, header.packed().ljust(head_bytes(header), b"\0"), 0)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return begun


def head_bytes(header: Header) -> int:
    """How much is written when a segment is made.

    Zeros where entries will be: what was written once costs no entry in the file system's journal again.
    """
    filled_by_appends = header.replaced is None and not header.interleaved
    return header.bottlenecks_offset if filled_by_appends else PAGE_BYTES


def publish(segment: Segment, path: Path) -> None:
    """Sync a segment and give it the name under which it counts. Raises OSError; then the file is gone."""
    try:
        os.fsync(segment.descriptor)
        segment.path.rename(path)
    except OSError:
        segment.path.unlink(missing_ok=True)
        raise
    segment.path = path
    sync_folder(path.parent)


def open_segment(path: Path, *, readonly: bool) -> Segment:
    """Raises StateError where the header is damaged or of another version, and OSError.

    While an interleaved segment is open for reading only, its file is not used again for other records.
    """
    if not path.stem.isdecimal():
        raise StateError(f"{path} is no segment of a cache: its name is no number; move it away")
    descriptor = os.open(path, (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC)
    try:
        if readonly:
            with contextlib.suppress(OSError):  # where files have no locks nobody uses them again either
                fcntl.flock(descriptor, fcntl.LOCK_SH)  # reuse.py has the other kind for some milliseconds
        header = Header.unpacked(os.pread(descriptor, PAGE_BYTES, 0), path)
        return Segment(path, descriptor, header, readonly=readonly)
    except BaseException:
        os.close(descriptor)
        raise


def pwrite(descriptor: int, raw: bytes, offset: int) -> None:
    view = memoryview(raw)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
