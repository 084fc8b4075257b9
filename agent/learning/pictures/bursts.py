"""Which examples belong together: the frames of one burst must fall on one side of a split.

A camera that sees the same cup twenty times in ten seconds gives twenty examples that are nearly one. With some of
them in training and some in validation, the validation would praise a head for what it knows by heart. Two examples
belong to one group where the same camera saw the same label within BURST_MS, or where their pictures look the same:
their perceptual hashes differ in at most NEAR_BITS. A group is known by the hash of its first picture, and an example
stays in the group that it joined, so splits do not move when the cache grows. Of pictures that come without the name
of a camera nobody knows whether they are neighbours in time: only their looks count.

Where somebody said the split of a picture, its group is its own hash, and what comes later and looks like one of `val`
or `test` joins that before any other: sides.py keeps it out of training. A hash that is nearly all zeros or ones is of
an even picture, and says nothing of what it shows: such pictures share groups, but nothing is kept out for them.

The hash is the difference hash (Krawetz, "Kind of like that", 2013): the picture shrunk to 9 x 8 gray values, and one
bit for each neighbour to the right that is brighter.
"""

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from agent.records import Split

BURST_MS = 10_000
# Of 2,491 photographs in three sets, 3 % share a group at 4 bits, and 15 % at 6, most of them wrongly.
NEAR_BITS = 4
# Of those three sets 3 % have fewer zeros or ones; of TrashNet's that were near each other most had different labels.
TELLING_BITS = 8

BANDS = NEAR_BITS + 1  # hashes that differ in at most so many bits but one agree in one of as many bands
BAND_BITS = -(-64 // BANDS)
_BAND = np.uint64((1 << BAND_BITS) - 1)

_AT_ONCE = 1 << 16  # hashes: a million at once would take more memory than a board has

_ROWS, _COLUMNS = 8, 9
_THUMBNAIL = 24  # pixels, about
_WEIGHTS = np.left_shift(np.uint64(1), np.arange(64, dtype=np.uint64))


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What a hash needs of RGB pixels [height, width, 3]."""
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


def distances(hashes: NDArray[np.uint64], to: int | NDArray[np.uint64]) -> NDArray[np.uint8]:
    """In how many bits each of `hashes` [n] differs from the one given, or from its own of [n]."""
    # The population count of Hacker's Delight, fig. 5-2: numpy has none of its own before 2.0.
    bits = hashes ^ np.asarray(to, np.uint64)
    bits -= (bits >> np.uint64(1)) & np.uint64(0x5555555555555555)
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    counts: NDArray[np.uint8] = ((bits * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.uint8)
    return counts


def telling(hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of `hashes` [n] say anything of what a picture shows: those of even pictures do not."""
    ones = distances(hashes, 0)
    return (ones >= TELLING_BITS) & (ones <= 64 - TELLING_BITS)


def near(hashes: NDArray[np.uint64], to: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of `hashes` [n] differ in at most NEAR_BITS from one of `to` [m]; of a million within seconds."""
    found = np.zeros(len(hashes), np.bool_)
    for band in range(BANDS):  # only those are compared that agree in a band of bits
        shift = np.uint64(band * BAND_BITS)
        others = to[np.argsort(to >> shift & _BAND, kind="stable")]
        known = others >> shift & _BAND
        for first in range(0, len(hashes), _AT_ONCE):
            block = hashes[first : first + _AT_ONCE]
            wanted = block >> shift & _BAND
            at, end = np.searchsorted(known, wanted, "left"), np.searchsorted(known, wanted, "right")
            rows = np.flatnonzero(~found[first : first + _AT_ONCE] & (at < end))
            while len(rows):
                alike = distances(block[rows], others[at[rows]]) <= NEAR_BITS
                found[first + rows[alike]] = True
                at[rows] += 1
                rows = rows[~alike & (at[rows] < end[rows])]
    return found


class Hashes:
    """Perceptual hashes, of which there come more."""

    def __init__(self, known: NDArray[np.uint64] | None = None) -> None:
        first = np.zeros(0, np.uint64) if known is None else known
        self._hashes: NDArray[np.uint64] = np.concatenate([first, np.zeros(64, np.uint64)])  # with room to grow
        self._count = len(first)

    def add(self, fingerprint: int) -> None:
        if fingerprint in self._hashes[: self._count]:
            return
        if self._count == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
        self._hashes[self._count] = fingerprint
        self._count += 1

    def nearest(self, to: int) -> int | None:
        """That which differs least, in at most NEAR_BITS; None where there is none."""
        known = self._hashes[: self._count]
        if len(known):
            differing = distances(known, to)
            least = int(differing.min())
            if least <= NEAR_BITS:
                return int(known[differing == least].min())  # of equals always the same, in whatever order they came
        return None


class Bursts:
    """The groups of a cache. Used by one thread at a time."""

    def __init__(
        self,
        groups: NDArray[np.uint64] | None = None,
        last: Mapping[tuple[str, str], tuple[int, int]] | None = None,
        aside: NDArray[np.uint64] | None = None,
    ) -> None:
        """The groups [n] that there are; the last frame of each camera and label: when it came, and its group; and
        those groups [m] that somebody put into val or test, as sides.set_aside has them."""
        self._groups, self._aside = Hashes(groups), Hashes(aside)
        self._last = {seen: found for seen, found in (last or {}).items() if not self.is_set_aside(found[1])}

    def join(self, camera: str, label: str, received_ms: int, fingerprint: int, said: Split | None = None) -> int:
        """The group that a picture with this perceptual hash belongs to, of which it is a member from now on.

        `said` is the split that somebody said, if so.
        """
        aside = None if said else self._aside.nearest(fingerprint)
        if aside is not None:  # this one, and not the rest of its burst: looks deceive now and then
            return aside
        group = None if said else self._of_neighbour((camera, label), received_ms, fingerprint)
        if group is None:
            group = fingerprint or 1  # an even picture has the hash 0, which in a record says: of no group
            self._groups.add(group)
        if said in ("val", "test") and telling(np.array([group], np.uint64))[0]:
            self._aside.add(group)
        if camera:
            self._last[camera, label] = received_ms, group
        return group

    def is_set_aside(self, group: int) -> bool:
        """Whether somebody put a picture of this group, or one that looks like it, into val or test."""
        return self._aside.nearest(group) is not None

    def _of_neighbour(self, seen: tuple[str, str], received_ms: int, fingerprint: int) -> int | None:
        if seen in self._last:
            last_ms, group = self._last[seen]
            if abs(received_ms - last_ms) <= BURST_MS:
                return group
        return self._groups.nearest(fingerprint)


def split_of(key: bytes) -> Split:
    """80 % train, 10 % val, 10 % test, by a hash of `key`.

    The key is what must stay on one side: the digest of a picture's bytes, or the name of the
    burst that it is part of. The same key gives the same answer on every machine and however
    many pictures are added.
    """
    digest = hashlib.blake2b(key, digest_size=8, person=b"lastlayer-split").digest()
    tenth = int.from_bytes(digest, "big") * 10 >> 64
    return "train" if tenth < 8 else "val" if tenth == 8 else "test"


def split_of_group(group: int) -> Split:
    """The side on which a whole group falls."""
    return split_of(group.to_bytes(8, "little"))
