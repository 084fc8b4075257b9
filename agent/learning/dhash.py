"""A perceptual hash: pictures that look the same have the same one, or nearly.

The difference hash (Krawetz, "Kind of like that", 2013): the picture shrunk to 9 x 8 gray values, and one bit for
each neighbour to the right that is brighter.
"""

import numpy as np
from numpy.typing import NDArray

_ROWS, _COLUMNS = 8, 9
_WEIGHTS = np.left_shift(np.uint64(1), np.arange(64, dtype=np.uint64))


def dhash(image: NDArray[np.uint8]) -> int:
    """The hash of RGB pixels [height, width, 3], both sides at least 9; 64 bits."""
    green = image[:, :, 1]  # most of what the eye takes for brightness, without a conversion
    height, width = green.shape
    rows = np.add.reduceat(green, np.arange(_ROWS) * height // _ROWS, axis=0, dtype=np.float32)
    cells = np.add.reduceat(rows, np.arange(_COLUMNS) * width // _COLUMNS, axis=1)
    # Rows and columns that do not divide evenly hold one pixel more or less: means, not sums.
    cells /= np.diff(np.arange(_COLUMNS + 1) * width // _COLUMNS)
    brighter = cells[:, 1:] > cells[:, :-1]
    return int(_WEIGHTS[brighter.ravel()].sum(dtype=np.uint64))


def distances(hashes: NDArray[np.uint64], to: int) -> NDArray[np.uint8]:
    """In how many bits each of `hashes` [n] differs from the one given."""
    # The population count of Hacker's Delight, fig. 5-2: numpy has none of its own before 2.0.
    bits = hashes ^ np.uint64(to)
    bits -= (bits >> np.uint64(1)) & np.uint64(0x5555555555555555)
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    counts: NDArray[np.uint8] = ((bits * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.uint8)
    return counts
