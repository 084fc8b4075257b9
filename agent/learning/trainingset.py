"""The examples that a head is trained on, with what the solvers need to know of them."""

from functools import cached_property

import numpy as np

from agent.learning.closed_form import DualScatter, Float64, Moments, PrimalScatter, Scatter, Standardisation
from agent.learning.examples import Examples, Rows, Shuffled, Targets, blocks, read
from agent.learning.progress import Progress, Watch


class TrainingSet:
    """Rows of a source, of which each class has at least one. What is not asked for is not computed."""

    def __init__(
        self, source: Examples, rows: Rows, targets: Targets, classes: int, memory_bytes: int, watch: Watch
    ) -> None:
        """`targets` are class indices of all examples of the source."""
        self.source = source
        self.rows = rows
        self.targets = targets
        self.classes = classes
        self.counts = np.bincount(targets[rows], minlength=classes)
        self.watch = watch
        self._memory_bytes = memory_bytes

    def subset(self, rows: Rows) -> "TrainingSet":
        return TrainingSet(self.source, rows, self.targets, self.classes, self._memory_bytes, self.watch)

    @property
    def is_small(self) -> bool:
        """Fewer examples than values in a bottleneck, and they fit into memory as float32."""
        return len(self.rows) <= self.source.size and len(self.rows) * self.source.size * 4 <= self._memory_bytes

    @cached_property
    def shuffled(self) -> Shuffled:
        return Shuffled(self.source, self.rows, self._memory_bytes, self.watch.phases)

    @cached_property
    def shares(self) -> Float64:
        """[K]"""
        return self.counts / len(self.rows)

    @cached_property
    def means(self) -> Float64:
        """Of the standardised classes, [D, K]."""
        return self._moments.means(self.standardisation)

    @cached_property
    def standardisation(self) -> Standardisation:
        return self._moments.standardisation()

    @cached_property
    def scatter(self) -> Scatter:
        standardisation = self.standardisation
        raw = read(self.source, self.rows, self.watch.phases) if self.is_small else None
        with self.watch.phases.phase("closed_form", images=len(self.rows)):
            if raw is None:
                return PrimalScatter(self._moments.scatter(standardisation), self.means)
            return DualScatter(standardisation.applied(raw), self.targets[self.rows], self.counts)

    @cached_property
    def _moments(self) -> Moments:
        moments = Moments(self.source.size, self.classes, products=not self.is_small)
        seen = 0
        for batch in blocks(self.source, self.rows, self.watch.phases):
            with self.watch.phases.phase("closed_form", images=len(batch.rows)):
                moments.add(batch.raw, self.targets[batch.rows])
            seen += len(batch.rows)
            self.watch.progress(Progress("reading", seen, len(self.rows)))
        return moments
