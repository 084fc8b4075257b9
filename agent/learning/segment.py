"""A segment: one file of fixed-size records, the cache's unit on flash. docs/cache.md describes the format.

Everything here is about bytes; what the records mean is the cache's business.
"""

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import MismatchError, StateError

MAGIC = b"LLSEGMT1"
HEADER_BYTES = 4096  # one flash page, so that records never share a page with it
TARGET_BYTES = 4 << 20

_HEADER = struct.Struct("<32s8sIIfi")  # backbone_id, dtype, size, capacity, scale, zero_point
_DTYPES = ("uint8", "int8", "float16")


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
    def record(self) -> np.dtype[Any]:
        """One record: 40 bytes of bookkeeping, then the bottleneck. `crc` covers all that follows it."""
        return np.dtype(
            [
                ("crc", "<u4"),
                ("label", "<u2"),
                ("camera", "<u2"),
                ("received_ms", "<i8"),
                ("frame_id", "<u8"),
                ("group", "<u8"),
                ("split", "u1"),
                ("split_said", "u1"),
                ("reserved", "V6"),
                ("bottleneck", np.dtype(self.dtype).newbyteorder("<"), (self.size,)),
            ]
        )

    def encoded(self, bottleneck: NDArray[Any]) -> NDArray[Any]:
        """A bottleneck [D] as it is stored. Bytes stay as they are; float32 is rounded to float16 and clipped to it."""
        if bottleneck.dtype == np.dtype(self.dtype):
            return bottleneck
        limit = np.finfo(np.float16).max
        clipped: NDArray[Any] = np.clip(bottleneck, -limit, limit).astype(np.float16)
        return clipped


@dataclass(frozen=True)
class Segment:
    """An open segment file."""

    path: Path
    descriptor: int
    layout: Layout
    capacity: int  # records


@dataclass(frozen=True)
class Scan:
    """What stands in a segment."""

    records: NDArray[Any]  # [used], without bottlenecks; rotten ones are included
    rotten: NDArray[np.int64]  # rows whose checksum is wrong, with good records behind them
    torn: int  # rows that were begun at the end and never finished


def create(path: Path, layout: Layout) -> Segment:
    """Make an empty, pre-allocated segment of about TARGET_BYTES, open for reading and writing. Raises OSError."""
    capacity = max(16, (TARGET_BYTES - HEADER_BYTES) // layout.record.itemsize)
    header = _HEADER.pack(
        layout.backbone_id.encode(), layout.dtype.encode(), layout.size, capacity, layout.scale, layout.zero_point
    )
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        # Space that is there already: an append then changes no size, and fdatasync has less to write.
        os.posix_fallocate(descriptor, 0, HEADER_BYTES + capacity * layout.record.itemsize)
        os.pwrite(descriptor, MAGIC + struct.pack("<I", zlib.crc32(header)) + header, 0)
        os.fsync(descriptor)
        temporary.rename(path)
    except OSError:
        os.close(descriptor)
        temporary.unlink(missing_ok=True)
        raise
    return Segment(path, descriptor, layout, capacity)


def open_segment(path: Path, *, readonly: bool) -> Segment:
    """Raises StateError where the header is damaged or of another version, and OSError."""
    descriptor = os.open(path, (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC)
    try:
        return Segment(path, descriptor, *_read_header(descriptor, path))
    except BaseException:
        os.close(descriptor)
        raise


def _read_header(descriptor: int, path: Path) -> tuple[Layout, int]:
    raw = os.pread(descriptor, len(MAGIC) + 4 + _HEADER.size, 0)
    if raw[: len(MAGIC)] != MAGIC:
        raise StateError(f"{path} is no segment of a cache that this version reads (it begins {raw[:8]!r})")
    header = raw[len(MAGIC) + 4 :]
    if len(header) != _HEADER.size or struct.unpack_from("<I", raw, len(MAGIC))[0] != zlib.crc32(header):
        raise StateError(f"{path} has a damaged header; move the file away to go on without its examples")
    backbone_id, dtype, size, capacity, scale, zero_point = _HEADER.unpack(header)
    name = dtype.rstrip(b"\0").decode("ascii", "replace")
    if name not in _DTYPES:
        raise StateError(f"{path} holds bottlenecks of the type {name!r}, which this version does not read")
    return Layout(backbone_id.decode("ascii", "replace"), size, name, scale, zero_point), capacity


def check_layout(found: Layout, expected: Layout, path: Path) -> None:
    """Raises MismatchError where two layouts differ."""
    if found != expected:
        raise MismatchError(
            f"{path} was made with another backbone, preprocessing or TFLite runtime "
            f"({found.size} x {found.dtype}, id {found.backbone_id[:8]}; "
            f"now {expected.size} x {expected.dtype}, id {expected.backbone_id[:8]}): "
            "their bottlenecks must not be mixed; use the backbone it was made with, or another --state"
        )


def checksums(records: NDArray[Any]) -> NDArray[np.uint32]:
    """The CRC-32 [n] of each record [n] behind its `crc` field."""
    size = records.dtype.itemsize
    raw = np.ascontiguousarray(records).view(np.uint8).data
    starts = range(0, len(records) * size, size)
    return np.fromiter((zlib.crc32(raw[at + 4 : at + size]) for at in starts), np.uint32, len(records))


def read_rows(segment: Segment, start: int, count: int) -> NDArray[Any]:
    """`count` records from row `start` on; fewer where the file ends. Raises OSError."""
    size = segment.layout.record.itemsize
    raw = os.pread(segment.descriptor, count * size, HEADER_BYTES + start * size)
    return np.frombuffer(raw, segment.layout.record, len(raw) // size)


def scan(segment: Segment, *, block_rows: int = 512) -> Scan:
    """Read a segment once and check every record, a block at a time. Raises OSError."""
    record = segment.layout.record
    bookkeeping = [name for name in record.names or () if name != "bottleneck"]
    blocks, good, begun = [], [], []
    for start in range(0, segment.capacity, block_rows):
        records = read_rows(segment, start, min(block_rows, segment.capacity - start))
        if not len(records):
            break
        begun.append(records.view((np.uint8, record.itemsize)).any(axis=1))  # zeros are space that waits
        good.append((checksums(records) == records["crc"]) & begun[-1])
        blocks.append(records[bookkeeping].copy())
        if not begun[-1].any():
            break  # nothing is ever written behind a block of waiting space
    if not blocks:
        return Scan(np.empty(0, record), np.empty(0, np.int64), 0)
    ok, started = np.concatenate(good), np.concatenate(begun)
    used = int(np.flatnonzero(ok)[-1]) + 1 if ok.any() else 0
    return Scan(np.concatenate(blocks)[:used], np.flatnonzero(~ok[:used]), int(started[used:].sum()))


def write_rows(segment: Segment, records: NDArray[Any], start: int) -> None:
    """Write records [n] from row `start` on, and return when they are on flash. Raises OSError."""
    offset = HEADER_BYTES + start * records.dtype.itemsize
    raw = np.ascontiguousarray(records).view(np.uint8).data
    while raw:
        written = os.pwrite(segment.descriptor, raw, offset)
        raw, offset = raw[written:], offset + written
    os.fdatasync(segment.descriptor)


def clear_rows(segment: Segment, start: int) -> None:
    """Turn the rows from `start` on back into waiting space. Raises OSError."""
    write_rows(segment, np.zeros(segment.capacity - start, segment.layout.record), start)
