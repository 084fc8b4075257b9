"""Heads without iteration: shrunk linear discriminant analysis and ridge regression from one pass.

Notation: x are the standardised bottlenecks [D], N of them; T = sum x x' / N their total scatter; M [D, K] the
means of the classes; P = diag(p) their shares. For a shrinkage s both heads come from one linear system,

    A = (T + s I)^-1 M.

Ridge regression onto the one-hot targets has the weights A P and, x being centred, the bias p. The discriminant
wants the scatter within the classes, T - M P M', in place of T; by the Woodbury identity

    (T - M P M' + s I)^-1 M = A (I - P M' A)^-1,

which is another system, but of only K unknowns. (Hastie, Tibshirani & Friedman 2009, 3.4 and 4.3.)
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.learning.examples import Targets
from agent.learning.head import Float32, as_float32

Float64 = NDArray[np.float64]

# How many examples the variance of a column is worth before its own: with few, it is mostly the mean of
# all columns' variances, so that columns that are rarely other than 0 are not blown up. Found on bottlenecks.
PRIOR_EXAMPLES = 1000


class Standardisation(NamedTuple):
    """x = (raw - shift) * factor"""

    shift: Float32  # [D]
    factor: Float32  # [D]

    def applied(self, raw: NDArray[Any]) -> Float32:
        """[B, D], a new array."""
        x = as_float32(raw, np.empty(raw.shape, np.float32))
        x -= self.shift
        x *= self.factor
        return x

    def folded(self, weights: Float32, bias: Float32) -> tuple[Float32, Float32]:
        """The weights [D, K] and bias [K] that say of raw bottlenecks what the given ones say of standardised ones."""
        offset = (self.shift * self.factor).astype(np.float64) @ weights
        return weights * self.factor[:, None], (bias - offset).astype(np.float32)


class Moments:
    """The sums over examples that standardisation and the closed forms need: one streaming pass.

    D^2 float64 values, unless `products` is false: then `scatter` is not to be had.
    """

    def __init__(self, size: int, classes: int, *, products: bool) -> None:
        self.counts = np.zeros(classes, np.int64)
        # Sums are of x - origin, so that a column far from 0 does not lose its variance to rounding.
        self._origin: Float32 | None = None
        self._sums = np.zeros((classes, size))
        self._squares = np.zeros(size)
        self._products = np.zeros((size, size)) if products else None

    def add(self, raw: NDArray[Any], targets: Targets) -> None:
        """Raw bottlenecks [B, D] and their class indices [B]; B is best about a thousand."""
        x = as_float32(raw, np.empty(raw.shape, np.float32))
        if self._origin is None:
            self._origin = x.mean(axis=0)
        x -= self._origin
        order = np.argsort(targets, kind="stable")
        present, starts = np.unique(targets[order], return_index=True)
        self._sums[present] += np.add.reduceat(x[order], starts, axis=0)
        self.counts += np.bincount(targets, minlength=len(self.counts))
        if self._products is None:
            self._squares += np.einsum("bd,bd->d", x, x)
        else:
            self._products += x.T @ x

    def standardisation(self) -> Standardisation:
        count = int(self.counts.sum())
        offset = self._sums.sum(axis=0) / count
        squares = self._squares if self._products is None else self._products.diagonal()
        variance = np.maximum(squares / count - offset**2, 0)
        mean_variance = variance.mean() or 1.0
        shrunk = (count * variance + PRIOR_EXAMPLES * mean_variance) / (count + PRIOR_EXAMPLES)
        shift = offset if self._origin is None else self._origin + offset
        return Standardisation(shift.astype(np.float32), (shrunk**-0.5).astype(np.float32))

    def means(self, standardisation: Standardisation) -> Float64:
        """M [D, K]"""
        offset = self._sums.sum(axis=0) / self.counts.sum()
        means: Float64 = (self._sums / self.counts[:, None] - offset) * standardisation.factor
        return np.ascontiguousarray(means.T)

    def scatter(self, standardisation: Standardisation) -> Float64:
        """T [D, D]"""
        if self._products is None:
            raise ValueError("these moments were summed without products")
        offset = self._sums.sum(axis=0) / self.counts.sum()
        scatter: Float64 = self._products / self.counts.sum()
        scatter -= offset[:, None] * offset
        scatter *= standardisation.factor[:, None] * standardisation.factor.astype(np.float64)
        return scatter


class Scatter(Protocol):
    def solve(self, shrinkage: float) -> Float64:
        """A = (T + shrinkage I)^-1 M, [D, K]"""


@dataclass
class PrimalScatter:
    """T itself: D unknowns a class."""

    total: Float64  # T [D, D]
    means: Float64  # M [D, K]

    def solve(self, shrinkage: float) -> Float64:
        return _solve_shifted(self.total, shrinkage, self.means)


class DualScatter:
    """The same from the N x N products of the examples, X X' / N: far less work when there are fewer than D."""

    def __init__(self, x: Float32, targets: Targets, counts: NDArray[np.int64]) -> None:
        """All standardised bottlenecks [N, D], their class indices, and how many each class has."""
        self._x = x
        self._products = (x @ x.T).astype(np.float64) / len(x)
        self._shares = np.zeros((len(x), len(counts)))  # M = X' S
        self._shares[np.arange(len(x)), targets] = 1 / counts[targets]

    def solve(self, shrinkage: float) -> Float64:
        solution: Float64 = self._x.T @ _solve_shifted(self._products, shrinkage, self._shares)
        return solution


def _solve_shifted(matrix: Float64, shift: float, right: Float64) -> Float64:
    shifted = matrix.copy()
    shifted.flat[:: len(matrix) + 1] += shift
    return np.linalg.solve(shifted, right)


def ridge(solved: Float64, shares: Float64) -> tuple[Float32, Float32]:
    """Weights [D, K] and bias [K] of ridge regression; `solved` is A."""
    return (solved * shares).astype(np.float32), shares.astype(np.float32)


def discriminant(solved: Float64, means: Float64, shares: Float64) -> tuple[Float32, Float32]:
    """Weights [D, K] and bias [K] of the linear discriminant; `solved` is A."""
    inner = np.eye(len(shares)) - shares[:, None] * (means.T @ solved)
    weights = np.linalg.solve(inner.T, solved.T).T
    bias = np.log(shares) - 0.5 * np.einsum("dk,dk->k", means, weights)
    return weights.astype(np.float32), bias.astype(np.float32)
