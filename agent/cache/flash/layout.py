"""What records are made of, and the first page of a segment of them. docs/cache.md describes both byte by byte."""

import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import BottleneckError, MismatchError, StateError
from agent.records import is_finite

PAGE_BYTES = 4096  # of flash and of the page cache: what a small write costs
MAX_REPLACED = 512

_MAGIC = b"LLSEGMT2"
_INTERLEAVED_MAGIC = b"LLSEGIL2"  # another one, so that a version that does not know the form refuses the file
_FIELDS = struct.Struct("<32s8sIIfiII")  # backbone_id, dtype, size, capacity, scale, zero_point, compacted, replaced

DTYPES = ("uint8", "int8", "float16", "float32")

_FLOAT16_LEAST, _FLOAT16_MOST = 2.0**-14, 65504.0  # below the one values lose their digits

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
        """The layout for what a backbone gives: its own values, be they bytes or float32."""
        # In single precision, as it is written: a layout read back must be equal.
        return Layout(backbone_id, size, dtype, float(np.float32(scale)), zero_point)

    def as_begun(self, begun: "Layout") -> "Layout":
        """This one, in the type of `begun` where both are of floats: earlier versions began caches in float16."""
        both_floats = {np.dtype(self.dtype).kind, np.dtype(begun.dtype).kind} == {"f"}
        return replace(self, dtype=begun.dtype) if both_floats else self

    @property
    def bottleneck_bytes(self) -> int:
        return self.size * np.dtype(self.dtype).itemsize

    @property
    def record(self) -> np.dtype[Any]:
        """One record, what is kept of an example; it stands so in an interleaved segment."""
        bottleneck = np.dtype(self.dtype).newbyteorder("<")
        return np.dtype([("stored", STORED_ENTRY), ("bottleneck", bottleneck, (self.size,))])

    def encoded(self, bottleneck: NDArray[Any]) -> NDArray[Any]:
        """A bottleneck [D] as it is stored: as it is, but rounded in a cache of float16, which earlier versions began.

        Raises BottleneckError where values are not finite, or do not fit.
        """
        if not is_finite(bottleneck):
            raise BottleneckError("the backbone gives no finite numbers for this picture: it cannot be learnt")
        if self.dtype == "float16" and bottleneck.dtype != np.float16:
            largest = float(np.abs(bottleneck).max(initial=0.0))
            if largest and not _FLOAT16_LEAST <= largest <= _FLOAT16_MOST:
                raise BottleneckError(
                    f"its bottleneck reaches {largest:.2g}, which the half precision of this cache cannot hold; an "
                    "earlier version began it: learn into another --state"
                )
        return bottleneck.astype(self.dtype, copy=False)

    def kept_well(self, stored: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of the stored bottlenecks [n, D] can be learnt from, [n]: their values are finite.

        Earlier versions clipped what float16 cannot hold, infinity too, to the largest values that it has.
        """
        most = np.float32(_FLOAT16_MOST if self.dtype == "float16" else np.inf)
        kept: NDArray[np.bool_] = (np.abs(stored) < most).all(axis=1)  # NaN is not less than anything
        return kept


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
