"""Groups of pictures that look the same, among a million: the same answers as agent.learning.pictures.bursts gives.

The board compares a picture with all groups; for a whole corpus that would take longer than its bottlenecks. Two hashes
of 64 bits that differ in at most four agree in one of five bands of bits, so only groups that share a band with the
picture need to be looked at (multi-index hashing: Norouzi, Punjani and Fleet 2012).
"""

import numpy as np
from numpy.typing import NDArray

from agent.learning.pictures.bursts import BAND_BITS, BANDS, NEAR_BITS, telling
from agent.records import Split

_MASK = (1 << BAND_BITS) - 1


class Neighbours:
    """Groups by their hashes, of pictures that come without the name of a camera."""

    def __init__(self, groups: NDArray[np.uint64], aside: NDArray[np.uint64]) -> None:
        """The groups [n] that there are, and those [m] that somebody put into val or test: see sides.set_aside."""
        self._groups, self._aside = _Index(groups), _Index(aside)

    def join(self, fingerprint: int, said: Split | None = None) -> int:
        """The group that a picture with this perceptual hash belongs to, of which it is a member from now on.

        `said` is the split that somebody said, if so.
        """
        if said is None:
            for known in (self._aside, self._groups):
                nearest = known.nearest(fingerprint)
                if nearest is not None:
                    return nearest
        group = fingerprint or 1  # as in Bursts: 0 says of no group
        self._groups.add(group)
        if said in ("val", "test") and telling(np.array([group], np.uint64))[0]:
            self._aside.add(group)
        return group


class _Index:
    """Hashes by what stands in each of their bands."""

    def __init__(self, hashes: NDArray[np.uint64]) -> None:
        self._bands: list[dict[int, list[int]]] = [{} for _ in range(BANDS)]
        self._known: set[int] = set()
        for each in hashes.tolist():
            self.add(each)

    def add(self, fingerprint: int) -> None:
        if fingerprint not in self._known:
            self._known.add(fingerprint)
            for band, key in self._keys(fingerprint):
                band.setdefault(key, []).append(fingerprint)

    def nearest(self, fingerprint: int) -> int | None:
        """That which differs least, in at most NEAR_BITS, and of equals the lowest; None where there is none."""
        if fingerprint in self._known:
            return fingerprint
        candidates = [known for band, key in self._keys(fingerprint) for known in band.get(key, ())]
        differing, nearest = min((((known ^ fingerprint).bit_count(), known) for known in candidates), default=(64, 0))
        return nearest if differing <= NEAR_BITS else None

    def _keys(self, fingerprint: int) -> list[tuple[dict[int, list[int]], int]]:
        return [(band, fingerprint >> (number * BAND_BITS) & _MASK) for number, band in enumerate(self._bands)]
