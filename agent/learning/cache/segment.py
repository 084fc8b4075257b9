"""A segment: one file of fixed-size records, the cache's unit on flash. docs/cache.md describes the format.

Here are its format and its file, in segment_io.py the records in it; what they mean is the cache's business.
"""

import os
import struct
import weakref
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import MismatchError, StateError
from agent.files import sync_folder

MAGIC = b"LLSEGMT2"
PAGE_BYTES = 4096  # of flash and of the page cache: what a small write costs
TARGET_BYTES = 8 << 20
FILL_BYTES = 64 << 10
MAX_REPLACED = 512

_HEADER = struct.Struct("<32s8sIIfiII")  # backbone_id, dtype, size, capacity, scale, zero_point, compacted, replaced
_DTYPES = ("uint8", "int8", "float16")

ENTRY = np.dtype(
    [
        ("frame_id", "<u8"),
        ("received_ms", "<i8"),
        ("group", "<u8"),
        ("sequence", "<u4"),
        ("bottleneck_crc", "<u4"),
        ("label", "<u2"),
        ("camera", "<u2"),
        ("split", "u1"),
        ("flags", "u1"),
        ("reserved", "V2"),
    ]
)
STORED_ENTRY = np.dtype([("crc", "<u4"), ("entry", ENTRY)])  # crc is of the entry


@dataclass(frozen=True)
class Layout:
    """What all records of a cache share. Bottlenecks of two layouts are never mixed."""

    backbone_id: str  # 32 hex digits, Bundle.backbone_id
    size: int  # D
    dtype: str  # as stored
    scale: float  # a real value is scale * (stored - zero_point)
    zero_point: int

    @staticmethod
    def of(backbone_id: str, size: int, dtype: str, scale: float, zero_point: int) -> "Layout":
        """The layout for what a backbone gives: its own bytes where it gives bytes, float16 otherwise."""
        stored = dtype if np.dtype(dtype).itemsize == 1 else "float16"
        # In single precision, as it is written: a layout read back must be equal.
        return Layout(backbone_id, size, stored, float(np.float32(scale)), zero_point)

    @property
    def bottleneck_bytes(self) -> int:
        return self.size * np.dtype(self.dtype).itemsize

    @property
    def record(self) -> np.dtype[Any]:
        """One record: what is kept of an example. In the file, entries and bottlenecks lie apart."""
        bottleneck = np.dtype(self.dtype).newbyteorder("<")
        return np.dtype([("stored", STORED_ENTRY), ("bottleneck", bottleneck, (self.size,))])

    def encoded(self, bottleneck: NDArray[Any]) -> NDArray[Any]:
        """A bottleneck [D] as it is stored. Bytes stay as they are; float32 is rounded to float16 and clipped to it."""
        if bottleneck.dtype == np.dtype(self.dtype):
            return bottleneck
        limit = np.finfo(np.float16).max
        clipped: NDArray[Any] = np.clip(bottleneck, -limit, limit).astype(np.float16)
        return clipped


class Segment:
    """An open segment file. Its descriptor is closed with the last reference to it, so that views go on reading."""

    def __init__(
        self, path: Path, descriptor: int, layout: Layout, capacity: int, compacted: bool, replaced: tuple[int, ...]
    ) -> None:
        self.path = path
        self.descriptor = descriptor
        self.layout = layout
        self.capacity = capacity  # records
        self.compacted = compacted  # all of it was there before it had its name
        self.replaced = replaced  # numbers of the segments that do not count beside this one
        self._bottlenecks_offset = _bottlenecks_offset(capacity)
        self._bottleneck_bytes = layout.bottleneck_bytes
        self.filled = 0  # bytes of the file up to which zeros or records were written by this process
        weakref.finalize(self, os.close, descriptor)

    @property
    def number(self) -> int:
        return int(self.path.stem)

    @property
    def size_bytes(self) -> int:
        return _size_bytes(self.layout, self.capacity)

    def entry_offset(self, row: int) -> int:
        return PAGE_BYTES + row * STORED_ENTRY.itemsize

    def bottleneck_offset(self, row: int) -> int:
        return self._bottlenecks_offset + row * self._bottleneck_bytes


def _bottlenecks_offset(capacity: int) -> int:
    entries = -(-capacity * STORED_ENTRY.itemsize // PAGE_BYTES)
    return (1 + entries) * PAGE_BYTES  # on a page of their own: a power of two values never straddles two


def _size_bytes(layout: Layout, capacity: int) -> int:
    return _bottlenecks_offset(capacity) + capacity * layout.bottleneck_bytes


def capacity_for(layout: Layout, size_bytes: int) -> int:
    """How many records a segment of about so many bytes holds; 16 at least."""
    return max(16, (size_bytes - 2 * PAGE_BYTES) // layout.record.itemsize)


def create(path: Path, layout: Layout, capacity: int) -> Segment:
    """Make an empty, pre-allocated segment, open for reading and writing; it is on flash. Raises OSError."""
    created = begin(path.with_suffix(".new"), layout, capacity)
    publish(created, path)
    return created


def begin(path: Path, layout: Layout, capacity: int, replaced: Sequence[int] | None = None) -> Segment:
    """As create, but it does not count until it is published. `replaced` marks a compacted segment."""
    page = _packed_header(layout, capacity, replaced)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    begun = Segment(path, descriptor, layout, capacity, replaced is not None, tuple(replaced or ()))
    try:
        # Space that is there already: an append changes no size, and a disk that fills up does not stop it.
        os.posix_fallocate(descriptor, 0, begun.size_bytes)
        if replaced is None:
            # Zeros where entries will be: what was written once costs no entry in the file system's journal again.
            page = page.ljust(_bottlenecks_offset(capacity), b"\0")
        pwrite(descriptor, page, 0)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return begun


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


def _packed_header(layout: Layout, capacity: int, replaced: Sequence[int] | None) -> bytes:
    numbers = tuple(replaced or ())
    header = _HEADER.pack(
        layout.backbone_id.encode(),
        layout.dtype.encode(),
        layout.size,
        capacity,
        layout.scale,
        layout.zero_point,
        replaced is not None,
        len(numbers),
    ) + struct.pack(f"<{len(numbers)}I", *numbers)
    header = header.ljust(PAGE_BYTES - len(MAGIC) - 4, b"\0")
    return MAGIC + struct.pack("<I", zlib.crc32(header)) + header


def open_segment(path: Path, *, readonly: bool) -> Segment:
    """Raises StateError where the header is damaged or of another version, and OSError."""
    descriptor = os.open(path, (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC)
    try:
        return _with_header(path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def _with_header(path: Path, descriptor: int) -> Segment:
    page = os.pread(descriptor, PAGE_BYTES, 0)
    if page[: len(MAGIC)] != MAGIC:
        raise StateError(f"{path} is no segment of a cache that this version reads (it begins {page[:8]!r})")
    header = page[len(MAGIC) + 4 :]
    if len(page) != PAGE_BYTES or struct.unpack_from("<I", page, len(MAGIC))[0] != zlib.crc32(header):
        raise StateError(f"{path} has a damaged header; move the file away to go on without its examples")
    backbone_id, dtype, size, capacity, scale, zero_point, compacted, count = _HEADER.unpack_from(header)
    name = dtype.rstrip(b"\0").decode("ascii", "replace")
    if name not in _DTYPES:
        raise StateError(f"{path} holds bottlenecks of the type {name!r}, which this version does not read")
    layout = Layout(backbone_id.decode("ascii", "replace"), size, name, scale, zero_point)
    replaced = struct.unpack_from(f"<{count}I", header, _HEADER.size)
    return Segment(path, descriptor, layout, capacity, bool(compacted), replaced)


def check_layout(found: Layout, expected: Layout, path: Path) -> None:
    """Raises MismatchError where two layouts differ."""
    if found != expected:
        raise MismatchError(
            f"{path} was made with another backbone, preprocessing or TFLite runtime "
            f"({found.size} x {found.dtype}, id {found.backbone_id[:8]}; "
            f"now {expected.size} x {expected.dtype}, id {expected.backbone_id[:8]}): "
            "their bottlenecks must not be mixed; use the backbone it was made with, or another --state"
        )


def pwrite(descriptor: int, raw: bytes, offset: int) -> None:
    view = memoryview(raw)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
