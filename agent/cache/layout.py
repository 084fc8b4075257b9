"""What the records of a cache are made of. docs/cache.md describes it byte by byte."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import MismatchError

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


def check_layout(found: Layout, expected: Layout, path: Path) -> None:
    """Raises MismatchError where two layouts differ."""
    if found != expected:
        raise MismatchError(
            f"{path} was made with another backbone, preprocessing or TFLite runtime "
            f"({found.size} x {found.dtype}, id {found.backbone_id[:8]}; "
            f"now {expected.size} x {expected.dtype}, id {expected.backbone_id[:8]}): "
            "their bottlenecks must not be mixed; use the backbone it was made with, or another --state"
        )
