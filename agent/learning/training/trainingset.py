"""The examples that a head is trained on, with what the solvers need to know of them."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.learning.solving.closed_form import DualScatter, PrimalScatter, Scatter
from agent.learning.solving.head import Float32, Targets
from agent.learning.solving.moments import LARGEST, LEAST, Float64, Moments, Standardisation
from agent.learning.training.examples import BLOCK_ROWS, Examples, Rows, Shuffled, blocks, class_counts, read
from agent.learning.training.progress import Progress, Watch

USUAL = 1e3  # bottlenecks whose root mean square is so large at most, and its inverse at least, are as usual


class TrainingSet:
    """Rows of a source, of which each class has at least one. What is not asked for is not computed."""

    def __init__(
        self,
        source: Examples,
        rows: Rows,
        targets: Targets,
        classes: int,
        memory_bytes: int,
        watch: Watch,
        kept: Callable[[], Moments] | None = None,
    ) -> None:
        """`targets` are class indices of all examples of the source; `kept` gives the moments if they are kept."""
        self.source = source
        self.rows = rows
        self.targets = targets
        self.classes = classes
        self.counts = class_counts(targets, rows, classes)
        self.watch = watch
        self._memory_bytes = memory_bytes
        self._kept = kept

    def subset(self, rows: Rows) -> "TrainingSet":
        return TrainingSet(self.source, rows, self.targets, self.classes, self._memory_bytes, self.watch)

    @property
    def is_small(self) -> bool:
        """Fewer examples than values in a bottleneck, and they fit into memory as float32."""
        return len(self.rows) <= self.source.size and len(self.rows) * self.source.size * 4 <= self._memory_bytes

    def bring_up_to_date(self) -> None:
        """Read now what the closed forms need."""
        _ = self._moments

    def forget_scatter(self) -> None:
        """Free what the closed forms alone needed: it is made again if it is asked for."""
        for name in ("scatter", "means"):
            self.__dict__.pop(name, None)

    @cached_property
    def shuffled(self) -> Shuffled:
        return Shuffled(self.source, self.rows, self._memory_bytes, self.watch.phases)

    @cached_property
    def shares(self) -> Float64:
        """[K]"""
        return self.counts / len(self.rows)

    @cached_property
    def means(self) -> Float32:
        """Of the standardised classes, [D, K]."""
        return self._moments.means(self.standardisation)

    @cached_property
    def standardisation(self) -> Standardisation:
        return self._moments.standardisation()

    @property
    def as_they_are(self) -> Standardisation:
        """What undoes the quantization and no more."""
        shift, factor = np.full(self.source.size, self.source.zero_point), np.full(self.source.size, self.source.scale)
        return Standardisation(shift.astype(np.float32), factor.astype(np.float32))

    @cached_property
    def is_out_of_reach(self) -> bool:
        """Whether floats are far larger or smaller than the settings of a descent by steps are made for, or far from 0:
        unless they are standardised it learns nothing of them."""
        if self.source.dtype.kind != "f":
            return False
        some = self.rows[:: -(-len(self.rows) // BLOCK_ROWS)]
        size = np.sqrt(np.mean(np.square(read(self.source, some, self.watch.phases).astype(np.float64))))
        return bool(LEAST < size < 1 / USUAL or USUAL < size < LARGEST)

    @cached_property
    def scatter(self) -> Scatter:
        standardisation = self.standardisation
        raw = read(self.source, self.rows, self.watch.phases) if self.is_small else None
        with self.watch.phases.phase("closed_form", images=len(self.rows)):
            if raw is None:
                return PrimalScatter(self._moments, standardisation, self.means)
            return DualScatter(standardisation.applied(raw), self.targets[self.rows], self.counts)

    @cached_property
    def _moments(self) -> Moments:
        if self._kept is not None and not self.is_small:
            return self._kept()
        moments = Moments(self.source.size, self.classes, products=not self.is_small)
        sum_up(moments, self.source, self.rows, self.targets, self.watch)
        return moments


def sum_up(moments: Moments, source: Examples, rows: Rows, targets: NDArray[Any], watch: Watch) -> None:
    """Add all of `rows` to the moments; `targets` are the class indices of all examples of the source."""
    seen = 0
    for batch in blocks(source, rows, watch.phases):
        with watch.phases.phase("closed_form", images=len(batch.rows)):
            moments.add(batch.raw, targets[batch.rows])
        seen += len(batch.rows)
        watch.progress(Progress("reading", seen, len(rows)))
    moments.release()
