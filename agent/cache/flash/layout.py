"""What records are made of, and the first page of a segment of them. docs/cache.md describes both byte by byte."""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import MismatchError, StateError

PAGE_BYTES = 4096  # of flash and of the page cache: what a small write costs
MAX_REPLACED = 512

_MAGIC = b"LLSEGMT2"
_INTERLEAVED_MAGIC = b"LLSEGIL2"  # another one, so that a version that does not know the form refuses the file
_FIELDS = struct.Struct("<32s8sIIfiII")  # backbone_id, dtype, size, capacity, scale, zero_point, compacted, replaced

DTYPES = ("uint8", "int8", "float16")

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
        """One record, what is kept of an example; it stands so in an interleaved segment."""
        bottleneck = np.dtype(self.dtype).newbyteorder("<")
        return np.dtype([("stored", STORED_ENTRY), ("bottleneck", bottleneck, (self.size,))])

    def encoded(self, bottleneck: NDArray[Any]) -> NDArray[Any]:
        """A bottleneck [D] as it is stored. Bytes stay as they are; float32 is rounded to float16 and clipped to it."""
        if bottleneck.dtype == np.dtype(self.dtype):
            return bottleneck
        limit = np.finfo(np.float16).max
        clipped: NDArray[Any] = np.clip(bottleneck, -limit, limit).astype(np.float16)
        return clipped


@dataclass(frozen=True)
class Header:
    """What a segment is.

    In a segment of the plain form all entries come first, and all bottlenecks behind them: quick to open and to read.
    In an interleaved one each bottleneck stands behind its own entry: what is written by itself costs fewer pages.
    """

    layout: Layout
    capacity: int  # records
    replaced: tuple[int, ...] | None = None  # of a compacted segment: the numbers of those that it stands for
    interleaved: bool = False
    oldest: int = 0  # of an interleaved segment: records with lower sequence numbers are left from an earlier use

    @property
    def entry_stride(self) -> int:
        return self.layout.record.itemsize if self.interleaved else STORED_ENTRY.itemsize

    @property
    def bottleneck_stride(self) -> int:
        return self.layout.record.itemsize if self.interleaved else self.layout.bottleneck_bytes

    @property
    def bottlenecks_offset(self) -> int:
        if self.interleaved:
            return PAGE_BYTES + STORED_ENTRY.itemsize
        entries = -(-self.capacity * STORED_ENTRY.itemsize // PAGE_BYTES)
        return (1 + entries) * PAGE_BYTES  # on a page of their own: a power of two values never straddles two

    @property
    def size_bytes(self) -> int:
        """Of the whole file."""
        if self.interleaved:
            return PAGE_BYTES + self.capacity * self.layout.record.itemsize
        return self.bottlenecks_offset + self.capacity * self.layout.bottleneck_bytes

    def packed(self) -> bytes:
        """[PAGE_BYTES]"""
        numbers = (self.oldest,) if self.interleaved else self.replaced or ()
        fields = _FIELDS.pack(
            self.layout.backbone_id.encode(),
            self.layout.dtype.encode(),
            self.layout.size,
            self.capacity,
            self.layout.scale,
            self.layout.zero_point,
            self.replaced is not None,
            len(numbers),
        ) + struct.pack(f"<{len(numbers)}I", *numbers)
        fields = fields.ljust(PAGE_BYTES - len(_MAGIC) - 4, b"\0")
        return (_INTERLEAVED_MAGIC if self.interleaved else _MAGIC) + struct.pack("<I", zlib.crc32(fields)) + fields

    @staticmethod
    def unpacked(page: bytes, path: Path) -> "Header":
        """Raises StateError where it is damaged or of another version; `path` is for the message."""
        magic, fields = page[: len(_MAGIC)], page[len(_MAGIC) + 4 :]
        if magic not in (_MAGIC, _INTERLEAVED_MAGIC):
            raise StateError(f"{path} is no segment of a cache that this version reads (it begins {magic!r})")
        if len(page) != PAGE_BYTES or struct.unpack_from("<I", page, len(_MAGIC))[0] != zlib.crc32(fields):
            raise StateError(f"{path} has a damaged header; move the file away to go on without its examples")
        backbone_id, dtype, size, capacity, scale, zero_point, compacted, count = _FIELDS.unpack_from(fields)
        name = dtype.rstrip(b"\0").decode("ascii", "replace")
        if name not in DTYPES:
            raise StateError(f"{path} holds bottlenecks of the type {name!r}, which this version does not read")
        layout = Layout(backbone_id.decode("ascii", "replace"), size, name, scale, zero_point)
        numbers = struct.unpack_from(f"<{count}I", fields, _FIELDS.size)
        if magic == _INTERLEAVED_MAGIC:
            return Header(layout, capacity, interleaved=True, oldest=numbers[0])
        return Header(layout, capacity, numbers if compacted else None)


def check_layout(found: Layout, expected: Layout, path: Path) -> None:
    """Raises MismatchError where two layouts differ."""
    if found != expected:
        raise MismatchError(
            f"{path} was made with another backbone, preprocessing or TFLite runtime "
            f"({found.size} x {found.dtype}, id {found.backbone_id[:8]}; "
            f"now {expected.size} x {expected.dtype}, id {expected.backbone_id[:8]}): "
            "their bottlenecks must not be mixed; use the backbone it was made with, or another --state"
        )
