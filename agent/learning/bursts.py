"""Which examples belong together: the frames of one burst must fall on one side of a split.

A camera that sees the same cup twenty times in ten seconds gives twenty examples that are nearly one. With some of
them in training and some in validation, the validation would praise a head for what it knows by heart. Two examples
belong to one group where they come from the same camera within BURST_MS, or where their pictures look the same: their
perceptual hashes differ in at most NEAR_BITS. A group is known by the hash of its first picture, and an example stays
in the group that it joined, so splits do not move when the cache grows.
"""

import numpy as np
from numpy.typing import NDArray

from agent.learning.dhash import distances
from agent.learning.splits import split_of
from agent.records import Split

BURST_MS = 10_000
# Of 2,491 photographs in three sets, 3 % share a group at 4 bits, and 15 % at 6, most of them wrongly.
NEAR_BITS = 4


class Bursts:
    """The groups of a cache. Used by one thread at a time."""

    def __init__(self) -> None:
        self._groups: NDArray[np.uint64] = np.zeros(64, np.uint64)
        self._count = 0
        self._last: dict[str, tuple[int, int]] = {}  # camera → when its last frame came, and its group

    def add(self, camera: str | None, received_ms: int, group: int) -> None:
        """Take note of an example and its group. `camera` is None for a picture that no camera pushed."""
        known = self._groups[: self._count]
        if not (known == np.uint64(group)).any():
            if self._count == len(self._groups):
                self._groups = np.concatenate([self._groups, np.zeros_like(self._groups)])
            self._groups[self._count] = group
            self._count += 1
        if camera is not None:
            self._last[camera] = received_ms, group

    def group_of(self, camera: str | None, received_ms: int, fingerprint: int) -> int:
        """The group that an example with this perceptual hash joins; a new one is known by that hash."""
        if camera in self._last:
            last_ms, group = self._last[camera]
            if abs(received_ms - last_ms) <= BURST_MS:
                return group
        known = self._groups[: self._count]
        if len(known):
            differing = distances(known, fingerprint)
            nearest = int(differing.argmin())
            if differing[nearest] <= NEAR_BITS:
                return int(known[nearest])
        return fingerprint


def split_of_group(group: int) -> Split:
    """The side on which a whole group falls."""
    return split_of(group.to_bytes(8, "little"))
