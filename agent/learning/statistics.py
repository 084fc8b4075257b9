"""What is kept between retrainings: the sums of the closed forms, and which examples are in them.

A retraining reads the bottlenecks of the examples that came, went or changed their label since, and no others.

Of the symmetric products only the upper triangle is stored (see arrayfile.py), row by row: 2 D^2 bytes and a little,
8 MB at D = 2048. The file is written where more examples than D have changed, so that it costs the flash about twice
what the bottlenecks did, whatever the number of retrainings.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.learning import arrayfile
from agent.learning.closed_form import STRIP, Moments
from agent.learning.examples import BLOCK_ROWS, Examples, Identified, Rows, Targets, read
from agent.learning.head import Float32
from agent.learning.progress import Watch
from agent.learning.recipe import Chosen, Recipe
from agent.learning.trainingset import sum_up

# Beyond this share of changed examples reading all of them is no dearer, and rids the sums of rounding.
MOST_CHANGED_ONE_IN = 2

Ids = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class _Change:
    """Rows of a source, and class indices before and after."""

    added: Rows
    removed: Rows
    moved: Rows
    removed_from: Targets
    moved_from: Targets

    def __len__(self) -> int:
        return len(self.added) + len(self.removed) + len(self.moved)


class Statistics:
    """The moments of the examples that a head is trained on. Class indices are into its own `labels`, which only grow.

    For one thread. `changed` counts the examples by which it differs from its file.
    """

    def __init__(self, backbone_id: str, size: int) -> None:
        self.backbone_id = backbone_id
        self.size = size
        self.chosen: Chosen | None = None
        self.labels: tuple[str, ...] = ()
        self.moments = Moments(size, 0, products=True)
        self.frame_ids: Ids = np.empty(0, np.uint64)  # ascending
        self.classes: Targets = np.empty(0, np.int32)
        self.changed = 0

    def __len__(self) -> int:
        return len(self.frame_ids)

    def fits(self, source: Examples) -> bool:
        return self.backbone_id == source.backbone_id and self.size == source.size

    @property
    def is_worth_storing(self) -> bool:
        return self.changed > self.size

    def chose(self, recipe: Recipe, inverse_temperature: float) -> None:
        self.chosen = Chosen(recipe, inverse_temperature, len(self))
        self.changed = max(self.changed, self.size + 1)

    def follow(
        self, source: Identified, rows: Rows, labels: tuple[str, ...], targets: Targets, watch: Watch
    ) -> Moments:
        """The moments of exactly these rows, with the classes in the order of `labels`.

        `targets` are indices into `labels` of all examples of the source; of `rows` none is -1. What is not to be had
        from the kept sums (too much has changed, or examples are gone for good) is summed up from the start.
        """
        rows = rows[np.argsort(source.frame_ids[rows], kind="stable")]
        indices = self._indices(labels)
        change = self._change(source, rows, indices[targets[rows]])
        try:
            if change is None:
                self._clear()
                indices = self._indices(labels)
                sum_up(self.moments, source, np.sort(rows), indices[targets], watch)
                self.changed = len(rows)
            else:
                self._apply(source, change, indices[targets], watch)
        except BaseException:
            self._clear()  # half of a change is nothing to build on
            raise
        self.frame_ids, self.classes = source.frame_ids[rows], indices[targets[rows]]
        return self.moments.of_classes(indices)

    def _clear(self) -> None:
        self.labels = ()
        self.chosen = None
        self.moments = Moments(self.size, 0, products=True)
        self.frame_ids, self.classes = np.empty(0, np.uint64), np.empty(0, np.int32)

    def _indices(self, labels: tuple[str, ...]) -> Targets:
        """Of these labels among our own, [K]; new ones are added."""
        known = {label: index for index, label in enumerate(self.labels)}
        new = [label for label in labels if label not in known]
        if new:
            known.update({label: len(self.labels) + index for index, label in enumerate(new)})
            self.labels = (*self.labels, *new)
            self.moments.grow(len(self.labels))
        return np.array([known[label] for label in labels], np.int32)

    def _change(self, source: Identified, rows: Rows, classes: Targets) -> _Change | None:
        """From what is summed to these rows, which are in the order of their ids; None where it cannot be followed."""
        frame_ids = source.frame_ids[rows]
        if not len(self) or (frame_ids[1:] == frame_ids[:-1]).any():
            return None
        place = np.minimum(np.searchsorted(self.frame_ids, frame_ids), len(self) - 1)
        known = self.frame_ids[place] == frame_ids
        moved = known & (self.classes[place] != classes)
        gone = np.ones(len(self), np.bool_)
        gone[place[known]] = False
        removed = _rows_of(source, self.frame_ids[gone])
        if removed is None:
            return None
        change = _Change(np.sort(rows[~known]), removed, rows[moved], self.classes[gone], self.classes[place[moved]])
        return None if len(change) * MOST_CHANGED_ONE_IN > len(self) else change

    def _apply(self, source: Identified, change: _Change, classes: Targets, watch: Watch) -> None:
        """`classes` are those of all examples of the source."""
        self.changed += len(change)
        if self.chosen is not None:
            self.chosen = replace(self.chosen, changed=self.chosen.changed + len(change))
        for raw, place in _read(source, change.removed, watch):
            self.moments.remove(raw, change.removed_from[place])
        for raw, place in _read(source, change.moved, watch):
            self.moments.move(raw, change.moved_from[place], classes[change.moved[place]])
        for raw, place in _read(source, change.added, watch):
            self.moments.add(raw, classes[change.added[place]])

    def save(self, path: Path) -> None:
        """Raises StateError where it cannot be written; then the old file, if any, is still there."""
        moments = self.moments
        header = {
            "backbone_id": self.backbone_id,
            "size": self.size,
            "labels": self.labels,
            "chosen": asdict(self.chosen) if self.chosen else None,
        }
        arrays: arrayfile.Arrays = {"counts": moments.counts, "sums": moments.sums}
        arrays |= {"frame_ids": self.frame_ids, "classes": self.classes}
        if moments.origin is not None:
            arrays["origin"] = moments.origin
            arrays["products"] = _packed(moments.products)
        arrayfile.save(path, header, arrays)
        self.changed = 0

    @classmethod
    def load(cls, path: Path) -> "Statistics | None":
        """None where there is no such file. Raises StateError for one that is damaged or cannot be read."""
        found = arrayfile.load(path)
        if found is None:
            return None
        header, arrays = found
        statistics = cls(header["backbone_id"], header["size"])
        if "origin" not in arrays:
            return statistics
        statistics.labels = tuple(header["labels"])
        statistics.frame_ids, statistics.classes = arrays["frame_ids"], arrays["classes"]
        if header["chosen"]:
            recipe = Recipe(**header["chosen"].pop("recipe"))
            statistics.chosen = Chosen(recipe, **header["chosen"])
        moments = statistics.moments
        moments.counts, moments.sums = arrays["counts"].copy(), arrays["sums"].copy()
        moments.origin = arrays["origin"]
        _unpack(arrays["products"], moments.products)
        return statistics


def _read(source: Examples, rows: Rows, watch: Watch) -> Iterator[tuple[NDArray[Any], slice]]:
    """Bottlenecks in blocks, and which of the rows they are."""
    for first in range(0, len(rows), BLOCK_ROWS):
        watch.check()
        place = slice(first, first + BLOCK_ROWS)
        raw = read(source, rows[place], watch.phases)
        with watch.phases.phase("closed_form", images=len(raw)):
            yield raw, place


def _rows_of(source: Identified, frame_ids: Ids) -> Rows | None:
    """Where in the source these are, or None if one of them is not there."""
    if not len(frame_ids):
        return np.empty(0, np.intp)
    order = np.argsort(source.frame_ids, kind="stable")
    place = np.minimum(np.searchsorted(source.frame_ids, frame_ids, sorter=order), source.count - 1)
    found: Rows = order[place]
    return found if (source.frame_ids[found] == frame_ids).all() else None


def _packed(products: Float32 | None) -> Float32:
    """The upper triangle, row by row."""
    assert products is not None
    return np.concatenate([row[index:] for index, row in enumerate(products)])


def _unpack(packed: Float32, products: Float32 | None) -> None:
    assert products is not None
    size, start = len(products), 0
    for index in range(size):
        products[index, index:] = packed[start : start + size - index]
        start += size - index
    for first in range(0, size, STRIP):  # of the lower triangle, the moments use the blocks on the diagonal
        square = products[first : first + STRIP, first : first + STRIP]
        square += np.triu(square, 1).T
