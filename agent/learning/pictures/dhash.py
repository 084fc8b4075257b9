"""A perceptual hash: pictures that look the same have the same one, or nearly.

The difference hash (Krawetz, "Kind of like that", 2013): the picture shrunk to 9 x 8 gray values, and one bit for
each neighbour to the right that is brighter.
"""

import numpy as np
from numpy.typing import NDArray

_ROWS, _COLUMNS = 8, 9
_THUMBNAIL = 24  # pixels, about
_WEIGHTS = np.left_shift(np.uint64(1), np.arange(64, dtype=np.uint64))


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What a hash needs of RGB pixels [height, width, 3], in half a kB and at next to no cost: every frame gets one."""
    step = max(1, min(image.shape[:2]) // _THUMBNAIL)
    small: NDArray[np.uint8] = image[::step, ::step, 1].copy()  # green: most of what the eye takes for brightness
    return small


def dhash(small: NDArray[np.uint8]) -> int:
    """The hash of a thumbnail; 64 bits."""
    height, width = small.shape
    rows = np.add.reduceat(small, np.arange(_ROWS) * height // _ROWS, axis=0, dtype=np.float32)
    cells = np.add.reduceat(rows, np.arange(_COLUMNS) * width // _COLUMNS, axis=1)
    # Where the width does not divide evenly, columns hold one pixel more or less: means, not sums.
    cells /= np.maximum(np.diff(np.arange(_COLUMNS + 1) * width // _COLUMNS), 1)
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
