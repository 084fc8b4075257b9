"""Groups of pictures that look the same, among a million: the same answers as agent.learning.pictures.bursts gives.

The board compares a picture with all groups; for a whole corpus that would take longer than its bottlenecks. Two hashes
of 64 bits that differ in at most four agree in one of five bands of bits, so only groups that share a band with the
picture need to be looked at (multi-index hashing: Norouzi, Punjani and Fleet 2012).
"""

import numpy as np
from numpy.typing import NDArray

from agent.learning.pictures.bursts import NEAR_BITS

_BANDS = NEAR_BITS + 1
_BAND_BITS = -(-64 // _BANDS)
_MASK = (1 << _BAND_BITS) - 1


class Neighbours:
    """Groups by their hashes, of pictures that come without the name of a camera."""

    def __init__(self, groups: NDArray[np.uint64]) -> None:
        self._bands: list[dict[int, list[int]]] = [{} for _ in range(_BANDS)]
        self._known: set[int] = set()
        for group in groups.tolist():
            self._found(group)

    def join(self, fingerprint: int) -> int:
        """The group that a picture with this perceptual hash belongs to, of which it is a member from now on."""
        if fingerprint in self._known:
            return fingerprint
        candidates = [group for band, key in self._keys(fingerprint) for group in band.get(key, ())]
        least = NEAR_BITS + 1
        nearest = 0
        for group in candidates:
            differing = (group ^ fingerprint).bit_count()
            if differing < least or (differing == least and differing <= NEAR_BITS and group < nearest):
                least, nearest = differing, group
        if least <= NEAR_BITS:
            return nearest
        group = fingerprint or 1  # as in Bursts: 0 says of no group
        if group not in self._known:
            self._found(group)
        return group

    def _found(self, group: int) -> None:
        self._known.add(group)
        for band, key in self._keys(group):
            band.setdefault(key, []).append(group)

    def _keys(self, fingerprint: int) -> list[tuple[dict[int, list[int]], int]]:
        return [(band, fingerprint >> (number * _BAND_BITS) & _MASK) for number, band in enumerate(self._bands)]
