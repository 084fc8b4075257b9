"""What is kept between retrainings: the sums of the closed forms, and which examples are in them.

A retraining reads the bottlenecks of the examples that came, went or changed their label since, and no others; then
the sums are those of the examples exactly.

Of the products one triangle is stored (see arrayfile.py), row by row: 2 D^2 bytes, 8 MB at D = 2048. So the file is
not written for every few examples, which are sooner followed once more, but only where solvers were compared, all was
summed up anew, or many have changed since.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from agent.errors import StateError
from agent.learning.solving.head import Float32, Targets
from agent.learning.solving.moments import STRIP, Moments
from agent.learning.training import arrayfile
from agent.learning.training.arrayfile import ArrayFile
from agent.learning.training.difference import Change, Ids, difference
from agent.learning.training.examples import BLOCK_ROWS, Examples, Identified, Rows, read
from agent.learning.training.progress import Watch
from agent.learning.training.settings import Chosen, Recipe
from agent.learning.training.trainingset import sum_up

# Frame ids [N], ascending, and the classes [N] of those examples.
Members = tuple[Ids, Targets]

log = logging.getLogger(__name__)

# Beyond this share of changed examples reading all of them is no dearer, and rids the sums of rounding.
MOST_CHANGED_ONE_IN = 2
# When as many have changed as so many values of a bottleneck: to follow them once more takes a tenth of a second.
STORE_AGAIN_ONE_IN = 4


class Statistics:
    """The moments of the examples that a head is trained on. Class indices are into its own `labels`, which only grow.

    For one thread. `chosen` is None where nothing was chosen from these sums. `is_worth_storing`: its file, if there is
    one, is left behind.
    """

    def __init__(self, backbone_id: str, size: int) -> None:
        self.backbone_id = backbone_id
        self.size = size
        self._clear()

    def _clear(self) -> None:
        self.chosen: Chosen | None = None
        self.labels: tuple[str, ...] = ()
        self.moments = Moments(self.size, 0, products=True)
        self.is_worth_storing = False
        self._file: ArrayFile | None = None  # that has the products, until they are asked for
        self._count = 0
        # At 12 bytes an example nobody shall have them in memory while solvers are compared.
        self._list: Callable[[], Members] = _no_members

    def __len__(self) -> int:
        return self._count

    def fits(self, source: Examples) -> bool:
        return self.backbone_id == source.backbone_id and self.size == source.size

    def chose(self, recipe: Recipe, inverse_temperature: float) -> None:
        """For the examples that are summed up now."""
        self.chosen = Chosen(recipe, inverse_temperature, len(self))
        self.is_worth_storing = True

    def indices(self, labels: tuple[str, ...]) -> Targets:
        """Of these labels among our own, [K]; new ones are added."""
        known = {label: index for index, label in enumerate(self.labels)}
        new = [label for label in labels if label not in known]
        if new:
            known.update({label: len(self.labels) + index for index, label in enumerate(new)})
            self.labels = (*self.labels, *new)
            self.moments.grow(len(self.labels))
        return np.array([known[label] for label in labels], np.int32)

    def difference(self, source: Identified, rows: Rows, labels: tuple[str, ...], targets: Targets) -> Change | None:
        """From what is summed up to exactly these rows; None where there is nothing to begin from.

        `targets` are indices into `labels` of all examples of the source; of `rows` none is -1.
        """
        if not len(self):
            return None
        return difference(*self._list(), source, rows, self.indices(labels)[targets])

    def follow(
        self, source: Identified, rows: Rows, labels: tuple[str, ...], targets: Targets, watch: Watch
    ) -> Moments:
        """The moments of exactly these rows, ascending, with the classes in the order of `labels`; `targets` as above.

        What is not to be had from the kept sums (too much has changed, or examples are gone for good) is summed up
        from the start.
        """
        change = self.difference(source, rows, labels, targets)
        try:
            if change is not None and self._applied(source, change, watch):
                self.is_worth_storing |= len(change) * STORE_AGAIN_ONE_IN > self.size
            else:
                self.is_worth_storing = True
                self.labels, self.moments = (), Moments(self.size, 0, products=True)
                self._count, self._list = 0, _no_members
                sum_up(self.moments, source, rows, self.indices(labels)[targets], watch)
        except BaseException:  # half of a change is nothing to build on
            self._clear()
            raise
        self._file = None
        indices = self.indices(labels)
        if self.chosen is not None:
            changed = len(rows) if change is None else len(change)
            self.chosen = replace(self.chosen, changed=self.chosen.changed + changed)
        if len(self) != len(rows) or change is None or len(change):
            self._count, self._list = len(rows), partial(_listed, source, rows, indices, targets)
        return self.moments.of_classes(indices)

    def _applied(self, source: Identified, change: Change, watch: Watch) -> bool:
        """Whether the moments followed a change; False where it takes all examples."""
        if change.gone or len(change) * MOST_CHANGED_ONE_IN > len(self):
            return False
        try:
            if self._file is not None:
                self.moments.products = _unpacked(self._file.read("products"), self.size)
                _mirror(self.moments.products)
            for first in range(0, len(change.rows), BLOCK_ROWS):
                watch.check()
                block = slice(first, first + BLOCK_ROWS)
                raw = read(source, change.rows[block], watch.phases)
                with watch.phases.phase("closed_form", images=len(raw)):
                    self.moments.change(raw, change.before[block], change.after[block])
            self.moments.release()
        except StateError as error:  # damaged products, or a rotten example that was deleted
            log.warning("%s; all examples are read again", error)
            return False
        return True

    def save(self, path: Path) -> None:
        """Raises StateError where it cannot be written; then the old file, if any, is still there."""
        header: dict[str, Any] = {"backbone_id": self.backbone_id, "size": self.size, "labels": self.labels}
        header["chosen"] = asdict(self.chosen) if self.chosen else None
        moments = self.moments
        frame_ids, classes = self._list()
        arrays: arrayfile.Arrays = {"frame_ids": frame_ids, "classes": classes}
        arrays |= {"counts": moments.counts, "sums": moments.sums}
        if moments.origin is not None:
            products = _packed(moments.products) if self._file is None else self._file.read("products")
            arrays |= {"origin": moments.origin, "products": products}
            if moments.unit is not None:
                arrays["unit"] = moments.unit
        arrayfile.save(path, header, arrays)
        self.is_worth_storing = False

    @classmethod
    def load(cls, path: Path) -> "Statistics | None":
        """None where there is no such file. Raises StateError for one that is damaged or cannot be read.

        A file of an earlier form also holds what was solved from the sums; that is passed over.
        """
        try:
            stored = ArrayFile(path)
        except FileNotFoundError:
            return None
        header = stored.header
        if not {"backbone_id", "size"} <= header.keys():
            raise StateError(f"{path} is another file: it holds no sums")
        statistics = cls(header["backbone_id"], header["size"])
        if "origin" not in stored:
            return statistics
        statistics.labels = tuple(header["labels"])
        members = stored.read("frame_ids"), stored.read("classes")
        statistics._count, statistics._list = len(members[0]), lambda: members
        moments = statistics.moments = Moments(statistics.size, 0, products=False)
        moments.counts, moments.sums, moments.origin = stored.read("counts"), stored.read("sums"), stored.read("origin")
        if "unit" in stored:
            moments.unit = stored.read("unit")
        statistics._file = stored
        if header["chosen"]:
            recipe = Recipe(**header["chosen"].pop("recipe"))
            statistics.chosen = Chosen(recipe, **header["chosen"])
        return statistics


def _no_members() -> Members:
    return np.empty(0, np.uint64), np.empty(0, np.int32)


def _listed(source: Identified, rows: Rows, indices: Targets, targets: Targets) -> Members:
    """These rows; `indices` are those of their classes `targets` among our own."""
    frame_ids = source.frame_ids[rows]
    order = np.argsort(frame_ids)
    return frame_ids[order], indices[targets[rows[order]]]


def _packed(upper: Float32 | None) -> Float32:
    """The upper triangle of a matrix [D, D], row by row."""
    assert upper is not None
    return np.concatenate([row[index:] for index, row in enumerate(upper)])


def _unpacked(packed: Float32, size: int) -> Float32:
    """With zeros below the diagonal."""
    upper, start = np.zeros((size, size), np.float32), 0
    for index in range(size):
        upper[index, index:] = packed[start : start + size - index]
        start += size - index
    return upper


def _mirror(products: Float32) -> None:
    """Of the lower triangle, the moments use the blocks on the diagonal."""
    for first in range(0, len(products), STRIP):
        square = products[first : first + STRIP, first : first + STRIP]
        square += np.triu(square, 1).T
