"""Which examples belong together: the frames of one burst must fall on one side of a split.

A camera that sees the same cup twenty times in ten seconds gives twenty examples that are nearly one. With some of
them in training and some in validation, the validation would praise a head for what it knows by heart. Two examples
belong to one group where the same camera saw the same label within BURST_MS, or where their pictures look the same:
their perceptual hashes differ in at most NEAR_BITS. A group is known by the hash of its first picture, and an example
stays in the group that it joined, so splits do not move when the cache grows. Of pictures that come without the name
of a camera nobody knows whether they are neighbours in time: only their looks count.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from agent.learning.pictures.dhash import distances
from agent.learning.pictures.splits import split_of
from agent.records import Split

BURST_MS = 10_000
# Of 2,491 photographs in three sets, 3 % share a group at 4 bits, and 15 % at 6, most of them wrongly.
NEAR_BITS = 4


class Bursts:
    """The groups of a cache. Used by one thread at a time."""

    def __init__(
        self,
        groups: NDArray[np.uint64] | None = None,
        last: Mapping[tuple[str, str], tuple[int, int]] | None = None,
    ) -> None:
        """The groups [n] that there are, and the last frame of each camera and label: when it came, and its group."""
        known = np.zeros(0, np.uint64) if groups is None else groups
        self._groups: NDArray[np.uint64] = np.concatenate([known, np.zeros(64, np.uint64)])  # with room to grow
        self._count = len(known)
        self._last = dict(last or {})

    def join(self, camera: str, label: str, received_ms: int, fingerprint: int) -> int:
        """The group that a picture with this perceptual hash belongs to, of which it is a member from now on."""
        group = self._of_neighbour((camera, label), received_ms, fingerprint)
        if group is None:
            group = fingerprint or 1  # an even picture has the hash 0, which in a record says: of no group
            self._found(group)
        if camera:
            self._last[camera, label] = received_ms, group
        return group

    def _of_neighbour(self, seen: tuple[str, str], received_ms: int, fingerprint: int) -> int | None:
        if seen in self._last:
            last_ms, group = self._last[seen]
            if abs(received_ms - last_ms) <= BURST_MS:
                return group
        known = self._groups[: self._count]
        if len(known):
            differing = distances(known, fingerprint)
            least = int(differing.min())
            if least <= NEAR_BITS:
                return int(known[differing == least].min())  # of equals always the same, in whatever order they came
        return None

    def _found(self, group: int) -> None:
        if self._count == len(self._groups):
            self._groups = np.concatenate([self._groups, np.zeros_like(self._groups)])
        self._groups[self._count] = group
        self._count += 1


def split_of_group(group: int) -> Split:
    """The side on which a whole group falls."""
    return split_of(group.to_bytes(8, "little"))
