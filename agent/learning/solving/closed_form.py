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
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.learning.solving.head import Float32, Targets
from agent.learning.solving.moments import Float64, Moments, Standardisation

BLOCK = 64


class Scatter(Protocol):
    def solve(self, shrinkage: float) -> Float32:
        """A = (T + shrinkage I)^-1 M, [D, K]"""


@dataclass
class PrimalScatter:
    """T itself: D unknowns a class. It is made from the sums for each shrinkage, so that there is one of it at most."""

    moments: Moments
    standardisation: Standardisation
    means: Float32  # M [D, K]

    def solve(self, shrinkage: float) -> Float32:
        return _solved(self.moments.scatter(self.standardisation), shrinkage, self.means)


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
        solution: Float32 = self._x.T @ _solved(self._products.copy(), shrinkage, self._shares)
        return solution


def _solved(matrix: Float32, shift: float, right: Float32) -> Float32:
    """The inverse of matrix [D, D] + shift I times `right` [D, n], a new array. The matrix is overwritten.

    It is symmetric without negative eigenvalues; standardised, with shifts of 0.1 and more, float32 keeps four digits
    or more. By Cholesky's L L' in blocks, in a quarter of the time and the memory of numpy.linalg.solve, which works in
    float64 and cannot know of the symmetry.
    """
    lower, solution = matrix, np.array(right, order="C")
    lower.flat[:: len(lower) + 1] += np.float32(shift)
    blocks = [slice(first, first + BLOCK) for first in range(0, len(lower), BLOCK)]
    for block in blocks:
        before, behind = slice(0, block.start), slice(block.stop, None)
        if block.start:
            lower[block.start :, block] -= lower[block.start :, before] @ lower[block, before].T
        # With the blocks on the diagonal inverted, solving is matrix products and no more.
        inverse = np.tril(np.linalg.inv(np.linalg.cholesky(lower[block, block])))
        lower[behind, block] = lower[behind, block] @ inverse.T
        lower[block, block] = inverse
        solution[block] -= lower[block, before] @ solution[before]
        solution[block] = inverse @ solution[block]
    for block in reversed(blocks):
        solution[block] -= lower[block.stop :, block].T @ solution[block.stop :]
        solution[block] = lower[block, block].T @ solution[block]
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


def head(kind: str, solved: Float32, means: Float32, shares: Float64) -> tuple[Float32, Float32]:
    """Of "lda" or "ridge"."""
    return ridge(solved, shares) if kind == "ridge" else discriminant(solved, means, shares)
