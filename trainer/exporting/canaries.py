"""Canaries: pictures that anyone can make again from their numbers, and what the float network says of them.

Integers alone, so that every machine makes the same bytes: a grid of colours from a linear congruential generator
(Park and Miller 1988), stretched bilinearly.
"""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

COUNT = 4
_GRID = 6  # colours a side
_MULTIPLIER, _MODULUS = 48271, 2**31 - 1


def picture(number: int, height: int, width: int) -> NDArray[np.uint8]:
    """Canary `number` (from 0) as [height, width, 3]."""
    state, values = number + 1, []
    for _ in range(_GRID * _GRID * 3 + 8):
        state = state * _MULTIPLIER % _MODULUS
        values.append(state >> 23)  # 0..255
    grid = np.array(values[8:], dtype=np.int64).reshape(_GRID, _GRID, 3)
    rows, row_shares = _positions(height)
    columns, column_shares = _positions(width)
    down, across = row_shares[:, None, None], column_shares[None, :, None]
    upper = grid[rows][:, columns] * (256 - across) + grid[rows][:, columns + 1] * across
    lower = grid[rows + 1][:, columns] * (256 - across) + grid[rows + 1][:, columns + 1] * across
    return np.asarray((upper * (256 - down) + lower * down) // 65536, dtype=np.uint8)


def _positions(length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each pixel the cell of the grid before it, and how far it is from there in 256ths."""
    at = np.arange(length, dtype=np.int64) * ((_GRID - 1) * 256 - 1) // max(length - 1, 1)
    return at >> 8, at & 255


def pictures(height: int, width: int) -> NDArray[np.uint8]:
    return np.stack([picture(number, height, width) for number in range(COUNT)])


def recorded(outputs: NDArray[np.float32], cosine_min: float) -> dict[str, Any]:
    """For a manifest: the float network's bottlenecks [COUNT, D], and the least cosine that the bundle reached."""
    return {
        "count": len(outputs),
        "float16": base64.b64encode(outputs.astype("<f2").tobytes()).decode(),
        "cosine_min": cosine_min,
    }
