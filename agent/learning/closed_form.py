"""Heads without iteration: shrunk linear discriminant analysis and ridge regression from one pass.

Notation: x are the standardised bottlenecks [D], N of them; T = sum x x' / N their total scatter; M [D, K] the
means of the classes; P = diag(p) their shares. For a shrinkage s both heads come from one linear system,

    A = (T + s I)^-1 M.

Ridge regression onto the one-hot targets has the weights A P and, x being centred, the bias p. The discriminant
wants the scatter within the classes, T - M P M', in place of T; by the Woodbury identity

    (T - M P M' + s I)^-1 M = A (I - P M' A)^-1,

which is another system, but of only K unknowns. (Hastie, Tibshirani & Friedman 2009, 3.4 and 4.3.)
"""

from collections.abc import Iterator
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

STRIP, CHOLESKY_BLOCK = 256, 64
FEW_CLASSES = 200  # whose sums are sooner had as a product with zeros and ones


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
        scaled, offset = weights * self.factor[:, None], bias.astype(np.float64)
        for first in range(0, len(scaled), STRIP):  # in float64, but not all of the weights at once
            rows = slice(first, first + STRIP)
            offset -= self.shift[rows].astype(np.float64) @ scaled[rows]
        return scaled, offset.astype(np.float32)


class Moments:
    """The sums over examples that standardisation and the closed forms need: one streaming pass.

    Float32, so that D = 2048 takes 16 MB: relative to N times the variance the sums are right to about 1e-6, which
    beside a shrinkage of 0.1 is nothing. Without `products`, which are D^2 of them, there is no `scatter`.
    """

    def __init__(self, size: int, classes: int, *, products: bool) -> None:
        self.counts = np.zeros(classes, np.int64)
        # Of the products only the upper triangle is kept up, in strips of STRIP rows.
        # Sums are of x - origin, so that a column far from 0 does not lose its variance to rounding.
        self.origin: Float32 | None = None
        self.sums = np.zeros((classes, size), np.float32)
        self.squares = np.zeros(0 if products else size)
        self.products = np.zeros((size, size), np.float32) if products else None

    def add(self, raw: NDArray[Any], targets: Targets) -> None:
        """Raw bottlenecks [B, D] and their class indices [B]; B is best about a thousand."""
        x = as_float32(raw, np.empty(raw.shape, np.float32))
        if self.origin is None:
            self.origin = x.mean(axis=0)
        x -= self.origin
        self._add_to_classes(x, targets, 1)
        if self.products is None:
            self.squares += np.einsum("bd,bd->d", x, x)
        else:
            self._add_products(x, 1)

    def remove(self, raw: NDArray[Any], targets: Targets) -> None:
        """Take back what was added."""
        x = self._centred(raw)
        self._add_to_classes(x, targets, -1)
        if self.products is None:
            self.squares -= np.einsum("bd,bd->d", x, x)
        else:
            self._add_products(x, -1)

    def move(self, raw: NDArray[Any], before: Targets, after: Targets) -> None:
        """Give examples that were added with the class indices `before` those of `after`: products do not change."""
        x = self._centred(raw)
        self._add_to_classes(x, before, -1)
        self._add_to_classes(x, after, 1)

    def merge(self, other: "Moments") -> None:
        """Add the examples of other moments of the same classes and the same kind."""
        if self.origin is None or other.origin is None:
            self.origin = other.origin if self.origin is None else self.origin
            distance = np.zeros(self.sums.shape[1], np.float32)
        else:
            distance = other.origin - self.origin
        total, count = other.sums.sum(axis=0), np.float32(other.counts.sum())
        # sum (x + d)(x + d)' = sum x x' + d s' + s d' + n d d', with s = sum x
        half = total + distance * (count / 2)
        if self.products is None or other.products is None:
            self.squares += other.squares + 2 * distance * half
        else:
            self.products += other.products
            self.products += np.outer(distance, half)
            self.products += np.outer(half, distance)
        self.sums += other.sums + other.counts[:, None].astype(np.float32) * distance
        self.counts += other.counts

    def grow(self, classes: int) -> None:
        """Make room for classes that have no examples yet."""
        more = classes - len(self.counts)
        self.counts = np.concatenate([self.counts, np.zeros(more, np.int64)])
        self.sums = np.concatenate([self.sums, np.zeros((more, self.sums.shape[1]), np.float32)])

    def of_classes(self, indices: Targets) -> "Moments":
        """A view with the classes of those indices alone, in that order. The others must have no examples."""
        view = object.__new__(Moments)
        view.counts, view.sums = self.counts[indices], self.sums[indices]
        view.origin, view.squares, view.products = self.origin, self.squares, self.products
        return view

    def standardisation(self) -> Standardisation:
        count = int(self.counts.sum())
        offset = self._offset()
        squares = self.squares if self.products is None else self.products.diagonal().astype(np.float64)
        variance = np.maximum(squares / count - offset**2, 0)
        mean_variance = variance.mean() or 1.0
        shrunk = (count * variance + PRIOR_EXAMPLES * mean_variance) / (count + PRIOR_EXAMPLES)
        shift = offset if self.origin is None else self.origin + offset
        return Standardisation(shift.astype(np.float32), (shrunk**-0.5).astype(np.float32))

    def means(self, standardisation: Standardisation) -> Float32:
        """M [D, K]"""
        means = self.sums.T / self.counts.astype(np.float32)
        means -= self._offset().astype(np.float32)[:, None]
        means *= standardisation.factor[:, None]
        return np.ascontiguousarray(means)

    def scatter(self, standardisation: Standardisation) -> Float32:
        """T [D, D]"""
        if self.products is None:
            raise ValueError("these moments were summed without products")
        offset, factor = self._offset().astype(np.float32), standardisation.factor
        scatter = np.empty_like(self.products)
        for rows, columns in _strips(len(scatter)):  # no other arrays of D^2
            strip = scatter[rows, columns]
            np.divide(self.products[rows, columns], np.float32(self.counts.sum()), out=strip)
            strip -= offset[rows, None] * offset[columns]
            strip *= factor[rows, None] * factor[columns]
            scatter[columns, rows] = strip.T
        return scatter

    def _offset(self) -> Float64:
        """Of the mean from the origin, [D]."""
        offset: Float64 = self.sums.sum(axis=0, dtype=np.float64) / self.counts.sum()
        return offset

    def _centred(self, raw: NDArray[Any]) -> Float32:
        if self.origin is None:
            raise ValueError("there is nothing to take away from: no examples were added")
        x = as_float32(raw, np.empty(raw.shape, np.float32))
        x -= self.origin
        return x

    def _add_products(self, x: Float32, sign: int) -> None:
        assert self.products is not None
        signed = x if sign > 0 else -x
        for rows, columns in _strips(len(self.products)):
            self.products[rows, columns] += signed[:, rows].T @ x[:, columns]

    def _add_to_classes(self, x: Float32, targets: Targets, sign: int) -> None:
        classes = len(self.counts)
        self.counts += sign * np.bincount(targets, minlength=classes)
        if classes <= FEW_CLASSES:
            signs = np.zeros((classes, len(x)), np.float32)
            signs[targets, np.arange(len(x))] = sign
            self.sums += signs @ x
        else:
            order = np.argsort(targets, kind="stable")
            present, starts = np.unique(targets[order], return_index=True)
            self.sums[present] += np.float32(sign) * np.add.reduceat(x[order], starts, axis=0)


def _strips(size: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of a symmetric matrix [size, size], from the diagonal to the right."""
    for first in range(0, size, STRIP):
        yield slice(first, first + STRIP), slice(first, size)


class Scatter(Protocol):
    def solve(self, shrinkage: float) -> Float32:
        """A = (T + shrinkage I)^-1 M, [D, K]"""


@dataclass
class PrimalScatter:
    """T itself: D unknowns a class."""

    total: Float32  # T [D, D]
    means: Float32  # M [D, K]

    def solve(self, shrinkage: float) -> Float32:
        return _solve_shifted(self.total, shrinkage, self.means)


class DualScatter:
    """The same from the N x N products of the examples, X X' / N: far less work when there are fewer than D."""

    def __init__(self, x: Float32, targets: Targets, counts: NDArray[np.int64]) -> None:
        """All standardised bottlenecks [N, D], their class indices, and how many each class has."""
        self._x = x
        self._products = x @ x.T
        self._products /= np.float32(len(x))
        self._shares = np.zeros((len(x), len(counts)), np.float32)  # M = X' S
        self._shares[np.arange(len(x)), targets] = 1 / counts[targets]

    def solve(self, shrinkage: float) -> Float32:
        solution: Float32 = self._x.T @ _solve_shifted(self._products, shrinkage, self._shares)
        return solution


def _solve_shifted(matrix: Float32, shift: float, right: Float32) -> Float32:
    """(matrix + shift I)^-1 right, of a symmetric matrix with no negative eigenvalues.

    By a blocked Cholesky factorisation in float32: a quarter of the time and of the memory of numpy.linalg.solve, which
    works in float64 and cannot know of the symmetry. Shifts of 0.1 leave float32 four digits or more.
    """
    lower = matrix.copy()
    lower.flat[:: len(lower) + 1] += np.float32(shift)
    solution: Float32 = right.copy()
    inverses = []  # of the blocks on the diagonal
    for first in range(0, len(lower), CHOLESKY_BLOCK):
        block, end = slice(first, first + CHOLESKY_BLOCK), first + CHOLESKY_BLOCK
        if first:
            lower[first:, block] -= lower[first:, :first] @ lower[block, :first].T
        inverse = np.linalg.inv(np.linalg.cholesky(lower[block, block]))
        inverses.append(inverse)
        lower[end:, block] = lower[end:, block] @ inverse.T
        solution[block] = inverse @ (solution[block] - lower[block, :first] @ solution[:first])
    for index, inverse in reversed(list(enumerate(inverses))):
        block, end = slice(index * CHOLESKY_BLOCK, (index + 1) * CHOLESKY_BLOCK), (index + 1) * CHOLESKY_BLOCK
        solution[block] = inverse.T @ (solution[block] - lower[end:, block].T @ solution[end:])
    return solution


def ridge(solved: Float32, shares: Float64) -> tuple[Float32, Float32]:
    """Weights [D, K] and bias [K] of ridge regression; `solved` is A."""
    weights: Float32 = solved * shares.astype(np.float32)
    return weights, shares.astype(np.float32)


def discriminant(solved: Float32, means: Float32, shares: Float64) -> tuple[Float32, Float32]:
    """Weights [D, K] and bias [K] of the linear discriminant; `solved` is A."""
    inner = np.eye(len(shares)) - shares[:, None] * (means.T @ solved)
    weights = solved @ np.linalg.inv(inner).astype(np.float32)
    bias = np.log(shares) - 0.5 * np.einsum("dk,dk->k", means, weights)
    return weights, bias.astype(np.float32)
