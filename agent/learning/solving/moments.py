"""What the solvers need to know of all examples together: sums, from one streaming pass.

Class indices are ints; x are raw bottlenecks [D], in whatever dtype they are stored.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.learning.solving.head import Float32, Targets, as_float32

Float64 = NDArray[np.float64]

# How many examples the variance of a column is worth before its own: with few, it is mostly the mean of
# all columns' variances, so that columns that are rarely other than 0 are not blown up. Found on bottlenecks.
PRIOR_EXAMPLES = 1000

# Values between these (apart from 0) can be learnt from in float32, their squares included once they are scaled.
LEAST, LARGEST = 1e-20, 1e20

STRIP = 256
# Columns of photographs' bottlenecks that are not mostly at rest reach a tenth to five times as far as their median.
NEAR = 8.0
AT_REST, AT_REST_LEAST = 0.6, 1e-4
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


def units(x: Float32) -> Float32:
    """What the values of each column of x [B, D] are counted in, [D], so that its scale matters to nobody.

    Columns that reach about as far as the median one are all counted in that, because which of them vary more tells
    something; others, which have a scale of their own, in what they reach themselves. A column that is mostly at rest
    reaches little because little was seen of it, which is no scale.
    """
    low = x.min(axis=0)
    reach = x.max(axis=0).astype(np.float64) - low
    alive = reach >= LEAST
    usual = np.median(reach[alive]) if alive.any() else 1.0
    at_rest = (reach > usual * AT_REST_LEAST) & (reach < usual) & ((x == low).mean(axis=0) > AT_REST)
    own = alive & ~at_rest & ((reach > usual * NEAR) | (reach < usual / NEAR))
    counted: Float32 = np.where(own, reach, usual).astype(np.float32)
    return counted


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
        # And floats are counted in what their column reaches, as each may have a scale of its own. Bytes have one.
        self.unit: Float32 | None = None
        self.sums = np.zeros((classes, size), np.float32)
        self.squares = np.zeros(0 if products else size)
        self.products = np.zeros((size, size), np.float32) if products else None
        self._x = self._strip = np.empty((0, 0), np.float32)  # filled anew for each block, and not asked for anew

    def add(self, raw: NDArray[Any], targets: Targets) -> None:
        """Raw bottlenecks [B, D] and their class indices [B]; B is best about a thousand."""
        if len(self.counts) > FEW_CLASSES:  # sorted, while they are small
            order = np.argsort(targets, kind="stable")
            raw, targets = raw[order], targets[order]
        if len(self._x) < len(raw):
            self._x = np.empty(raw.shape, np.float32)
        x = as_float32(raw, self._x[: len(raw)])
        if self.origin is None:
            self.origin = x.mean(axis=0, dtype=np.float64).astype(np.float32)
            self.unit = units(x) if raw.dtype.kind == "f" else None
        self._centre(x)
        self._add_to_classes(x, targets, 1)
        if self.products is None:
            self.squares += np.einsum("bd,bd->d", x, x)
        else:
            self._add_products(x, 1)

    def release(self) -> None:
        """Free what adding needs beside the sums."""
        self._x = self._strip = np.empty((0, 0), np.float32)

    def change(self, raw: NDArray[Any], before: Targets, after: Targets) -> None:
        """Give examples that count with the class indices `before` [B] those of `after`; -1: it does not count."""
        if self.origin is None:
            raise ValueError("there is nothing to change: no examples were added")
        x = as_float32(raw, np.empty(raw.shape, np.float32))
        self._centre(x)
        was, becomes = before >= 0, after >= 0
        self._add_to_classes(x[was], before[was], -1)
        self._add_to_classes(x[becomes], after[becomes], 1)
        for rows, sign in ((was & ~becomes, -1), (becomes & ~was, 1)):  # the products know of no classes
            if not rows.any():
                continue
            if self.products is None:
                self.squares += sign * np.einsum("bd,bd->d", x[rows], x[rows])
            else:
                self._add_products(x[rows], sign)

    def grow(self, classes: int) -> None:
        """Make room for classes that have no examples yet."""
        more = classes - len(self.counts)
        self.counts = np.concatenate([self.counts, np.zeros(more, np.int64)])
        self.sums = np.concatenate([self.sums, np.zeros((more, self.sums.shape[1]), np.float32)])

    def of_classes(self, indices: Targets) -> "Moments":
        """A view with the classes of those indices alone, in that order. The others must have no examples."""
        if np.array_equal(indices, np.arange(len(self.counts))):
            return self
        view = object.__new__(Moments)
        view.counts, view.sums = self.counts[indices], self.sums[indices]
        view.origin, view.unit, view.squares, view.products = self.origin, self.unit, self.squares, self.products
        view.release()
        return view

    def standardisation(self) -> Standardisation:
        count = int(self.counts.sum())
        offset = self._offset()
        squares = self.squares if self.products is None else self.products.diagonal().astype(np.float64)
        variance = np.maximum(squares / count - offset**2, 0)
        # What was not seen to reach so far before must not outweigh all others.
        mean_variance = (variance if self.unit is None else np.minimum(variance, NEAR**2)).mean() or 1.0
        shrunk = (count * variance + PRIOR_EXAMPLES * mean_variance) / (count + PRIOR_EXAMPLES)
        unit = 1.0 if self.unit is None else self.unit.astype(np.float64)
        mean = offset if self.origin is None else self.origin + offset * unit
        return Standardisation(mean.astype(np.float32), (shrunk**-0.5 / unit).astype(np.float32))

    def means(self, standardisation: Standardisation) -> Float32:
        """M [D, K]"""
        means = self.sums.T / self.counts.astype(np.float32)
        means -= self._offset().astype(np.float32)[:, None]
        means *= self._factor(standardisation)[:, None]
        return np.ascontiguousarray(means)

    def scatter(self, standardisation: Standardisation) -> Float32:
        """T [D, D]"""
        if self.products is None:
            raise ValueError("these moments were summed without products")
        offset, factor = self._offset().astype(np.float32), self._factor(standardisation)
        scatter = np.empty_like(self.products)
        for rows, columns in _strips(len(scatter)):  # no other arrays of D^2
            strip = scatter[rows, columns]
            np.divide(self.products[rows, columns], np.float32(self.counts.sum()), out=strip)
            strip -= offset[rows, None] * offset[columns]
            strip *= factor[rows, None] * factor[columns]
            scatter[columns, rows] = strip.T
        return scatter

    def _centre(self, x: Float32) -> None:
        assert self.origin is not None
        x -= self.origin
        if self.unit is not None:
            x /= self.unit

    def _factor(self, standardisation: Standardisation) -> Float32:
        """That of x as it was summed up, [D]."""
        return standardisation.factor if self.unit is None else standardisation.factor * self.unit

    def _offset(self) -> Float64:
        """Of the mean from the origin, [D], in units."""
        offset: Float64 = self.sums.sum(axis=0, dtype=np.float64) / self.counts.sum()
        return offset

    def _add_products(self, x: Float32, sign: int) -> None:
        assert self.products is not None
        signed, size = x if sign > 0 else -x, len(self.products)
        if not self._strip.size:
            self._strip = np.empty((STRIP, size), np.float32)
        for rows, columns in _strips(size):
            shape = min(STRIP, size - rows.start), size - columns.start
            product = self._strip.reshape(-1)[: shape[0] * shape[1]].reshape(shape)
            self.products[rows, columns] += np.matmul(signed[:, rows].T, x[:, columns], out=product)

    def _add_to_classes(self, x: Float32, targets: Targets, sign: int) -> None:
        classes = len(self.counts)
        self.counts += sign * np.bincount(targets, minlength=classes)
        if classes <= FEW_CLASSES:
            signs = np.zeros((classes, len(x)), np.float32)
            signs[targets, np.arange(len(x))] = sign
            for columns in _columns(x):
                self.sums[:, columns] += signs @ x[:, columns]
        else:
            order = np.argsort(targets, kind="stable")
            if np.any(order[1:] < order[:-1]):
                x, targets = x[order], targets[order]
            present, starts = np.unique(targets, return_index=True)
            for columns in _columns(x):
                self.sums[present, columns] += np.float32(sign) * np.add.reduceat(x[:, columns], starts, axis=0)


def _columns(x: Float32) -> Iterator[slice]:
    """All of x [B, D], in parts that stay in the cache of the processor."""
    for first in range(0, x.shape[1], STRIP):
        yield slice(first, first + STRIP)


def _strips(size: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of a symmetric matrix [size, size], from the diagonal to the right."""
    for first in range(0, size, STRIP):
        yield slice(first, first + STRIP), slice(first, size)
