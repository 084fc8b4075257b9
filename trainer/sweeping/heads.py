"""Several heads that learn from the same batches: two products for all of them together.

SoftmaxStep (agent/learning/solving/solvers.py) does the same for one. Here the parameters lie the other way round,
[S K, D+1]: then those of one head are one piece of memory, which a solver changes in place, and all of them are one
matrix.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.learning.solving.head import Float32, as_float32
from agent.learning.solving.moments import Standardisation
from agent.learning.solving.solvers import Solver, cross_entropy_gradient


class Features:
    """Batches of raw bottlenecks [B, D] as the heads take them, [B, D+1]: the last column, 1, is for the bias."""

    def __init__(self, size: int, batch: int, standardisation: Standardisation) -> None:
        self._shift, self._factor = standardisation
        self._shifted = bool(np.any(self._shift))
        self._buffer = np.ones((batch, size + 1), np.float32)
        self._plain = np.empty((batch, size), np.float32)

    def of(self, raw: NDArray[Any]) -> Float32:
        """[B, D+1], valid until the next batch."""
        plain = as_float32(raw, out=self._plain[: len(raw)])
        if self._shifted:
            np.subtract(plain, self._shift, plain)
        features = self._buffer[: len(raw)]
        np.multiply(plain, self._factor, features[:, :-1])
        return features


class HeadsSideBySide:
    """S heads of K classes; one that diverges is left where it was, and takes part no more."""

    def __init__(self, size: int, classes: int, batch: int, solvers: Sequence[Solver]) -> None:
        self._parameters = np.zeros((len(solvers) * classes, size + 1), np.float32)
        self._gradient = np.empty_like(self._parameters)
        self._logits = np.empty((batch, len(self._parameters)), np.float32)
        self._solvers = solvers
        self._classes = classes
        self.diverged = [False] * len(solvers)

    def step(self, features: Float32, targets: NDArray[np.int32]) -> list[tuple[float, int]]:
        """Learn from a batch [B, D+1] and its class indices [B]; of each head its loss, and how many were right."""
        logits = self._logits[: len(features)]
        with np.errstate(over="ignore", invalid="ignore"):  # of one that diverges
            np.matmul(features, self._parameters.T, logits)
        found = [self._differentiated(number, logits, targets) for number in range(len(self._solvers))]
        np.matmul(logits.T, features, self._gradient)
        for number, solver in enumerate(self._solvers):
            if not self.diverged[number]:
                rows = self._rows(number)
                solver.update(self._parameters[rows], self._gradient[rows])
        return found

    def _differentiated(self, number: int, logits: Float32, targets: NDArray[np.int32]) -> tuple[float, int]:
        own = logits[:, self._rows(number)]
        if self.diverged[number]:
            own[:] = 0
            return math.inf, 0
        with np.errstate(over="ignore", invalid="ignore"):
            loss, right = cross_entropy_gradient(own, targets)
        if not math.isfinite(loss):
            self.diverged[number] = True
            own[:] = 0  # not-a-number must not reach the others
        return loss, right

    def parameters(self, number: int) -> tuple[Float32, Float32]:
        """Weights [D, K] and bias [K] of one head, for features."""
        own = self._parameters[self._rows(number)]
        return np.ascontiguousarray(own[:, :-1].T), own[:, -1].copy()

    def _rows(self, number: int) -> slice:
        return slice(number * self._classes, (number + 1) * self._classes)
