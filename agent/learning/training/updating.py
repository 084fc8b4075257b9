"""A head brought up to date after a few changes, in milliseconds: what was solved once is not solved anew.

Notation as in closed_form.py, with B = T + s I and Y = B^-1 S / N, where S [D, K] are the sums of the classes. All are
kept as they were solved, with the standardisation of then. Of n examples that came (+1), went (-1) or changed their
class (0), X [n, D] are the bottlenecks, J the diagonal matrix of those signs, and E [n, K] what is added to the one-hot
rows of their classes. Then S and B become S + X'E and B + X'JX / N, and with Z = B^-1 X' and G = XZ / N

    Y becomes Y + Z (E - J (I + G J)^-1 (XY + G E)) / N

(Woodbury 1950), for which n systems are solved with the kept factor. The mean, which has moved by m, is taken out by
one more such step. It is exact; but the standardisation and the product N s stay as they were, until there are so many
changes that all is solved anew.

A head that was trained by Adam has no such solution. It makes one Newton step instead, from where it is, for the
changed examples alone, as if the others pulled nowhere. For the Hessian stands its bound B / 2 (Böhning 1992).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.learning.solving.cholesky import Cholesky
from agent.learning.solving.head import Float32, Targets, softmax
from agent.learning.solving.moments import Moments, Standardisation
from agent.learning.training.difference import Change


@dataclass(frozen=True, eq=False)
class Solved:
    """What was solved for the head that was chosen. Class indices are those of the kept sums."""

    standardisation: Standardisation
    factor: Cholesky  # of B [D, D]
    examples: int  # N
    solution: Float32  # [D, K]: Y; of Adam the weights, for raw bottlenecks, with the temperature
    bias: Float32  # [K] of Adam; zeros otherwise


def solved_again(solved: Solved, moments: Moments, raw: NDArray[np.generic], change: Change) -> Float32:
    """A [D, K] after a change of which `raw` [n, D] are the bottlenecks. `moments` are those after it."""
    count = solved.examples
    after = moments.counts.sum()
    x = solved.standardisation.applied(raw)
    z = solved.factor.solve(x.T)
    gram = (x @ z).astype(np.float64) / count
    signs = (change.after >= 0).astype(np.float64) - (change.before >= 0)
    moved = _one_hot(change.after, len(moments.counts)) - _one_hot(change.before, len(moments.counts))
    y = _widened(solved.solution, len(moments.counts))
    inner = np.linalg.solve(np.eye(len(raw)) + gram * signs, x @ y + gram @ moved)
    y += z @ ((moved - signs[:, None] * inner) / count).astype(np.float32)
    return _centred(y, moments, solved.standardisation, count / after)


def _centred(y: Float32, moments: Moments, standardisation: Standardisation, shrunk: float) -> Float32:
    """A of all classes that have examples, from Y = B^-1 S / N; `shrunk` is N by their number."""
    mean = ((moments.mean - standardisation.shift) * standardisation.factor).astype(np.float32)
    shares = moments.counts / moments.counts.sum()
    of_mean = y.sum(axis=1) * np.float32(shrunk)  # B^-1 m
    a: Float32 = y * (shrunk / np.maximum(shares, 1e-12)).astype(np.float32)
    a -= of_mean[:, None]
    pull = (mean @ a) / np.float32(shrunk - mean @ of_mean)
    a += np.outer(of_mean, pull)
    a /= np.float32(shrunk)
    return a


def newton_step(
    solved: Solved, inverse_temperature: float, raw: NDArray[np.generic], change: Change
) -> tuple[Float32, Float32]:
    """Weights [D, K] and bias [K], for raw bottlenecks, after a change of which `raw` [n, D] are the bottlenecks."""
    x, classes = solved.standardisation.applied(raw), len(solved.bias)
    logits = (raw.astype(np.float32) @ solved.solution + solved.bias) / np.float32(inverse_temperature)
    signs = (change.after >= 0).astype(np.float32) - (change.before >= 0)
    moved = _one_hot(change.after, classes) - _one_hot(change.before, classes)
    residuals = ((moved - signs[:, None] * softmax(logits)) * (2 / solved.examples)).astype(np.float32)
    weights, bias = solved.standardisation.folded(solved.factor.solve(x.T) @ residuals, residuals.sum(axis=0))
    scale = np.float32(inverse_temperature)
    return solved.solution + scale * weights, solved.bias + scale * bias


def _one_hot(classes: Targets, count: int) -> NDArray[np.float64]:
    """[n, K]; a row of zeros where the class is -1."""
    rows = np.flatnonzero(classes >= 0)
    one_hot = np.zeros((len(classes), count))
    one_hot[rows, classes[rows]] = 1
    return one_hot


def _widened(solution: Float32, classes: int) -> Float32:
    """A copy with columns of zeros for classes that came since."""
    widened = np.zeros((len(solution), classes), np.float32)
    widened[:, : solution.shape[1]] = solution
    return widened
