"""What others offer for the last layer: the study's text files, plain numpy, scikit-learn, pycoral's rule."""

import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.learning.solving.head import Float32, Targets
from agent.learning.training.examples import TRAIN, VAL, ArrayExamples

SIZE = 2048  # values in a bottleneck, as in the study
RATE, EPSILON = 0.01, 0.1  # of the study's Adam
ZERO_POINT, SCALE = 3, 0.02  # of the bottlenecks' bytes
TEXT_FILES = 1000
MOST_JACOBIANS = 1 << 22  # values, at once

Step = Callable[[NDArray[np.uint8], NDArray[np.int32]], Any]


class TextFiles:
    """The study's scheme, written anew: a file for each bottleneck, its numbers in decimal with commas between."""

    def __init__(self, folder: Path, batch: int, rng: np.random.Generator) -> None:
        self._paths = [folder / f"{number}.txt" for number in range(TEXT_FILES)]
        for path, row in zip(self._paths, rng.integers(0, 256, (TEXT_FILES, SIZE)) * SCALE, strict=True):
            path.write_text(",".join(f"{value:.6f}" for value in row))
        self._batch, self._rng = batch, rng

    @property
    def mean_bytes(self) -> float:
        return statistics.fmean(path.stat().st_size for path in self._paths)

    def batch(self) -> NDArray[np.float32]:
        rows = []
        for number in self._rng.integers(0, TEXT_FILES, self._batch).tolist():
            with self._paths[number].open() as file:
                rows.append([float(text) for text in file.read().split(",")])
        return np.array(rows, np.float32)


def plain_numpy(classes: int, batch: int) -> Step:
    """The formulas as one writes them down, in float32."""
    zero_point, scale = np.float32(ZERO_POINT), np.float32(SCALE)
    parameters = [np.zeros((SIZE, classes), np.float32), np.zeros(classes, np.float32)]
    m = [np.zeros_like(p) for p in parameters]
    v = [np.zeros_like(p) for p in parameters]
    t = 0

    def step(raw: NDArray[np.uint8], targets: NDArray[np.int32]) -> tuple[float, int]:
        nonlocal t
        t += 1
        rows = np.arange(len(raw))
        x = (raw.astype(np.float32) - zero_point) * scale
        logits = x @ parameters[0] + parameters[1]
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        loss = -np.log(probabilities[rows, targets] + 1e-12).mean()
        right = (probabilities.argmax(axis=1) == targets).sum()
        error = probabilities.copy()
        error[rows, targets] -= 1
        error = error / len(raw)
        for n, gradient in enumerate((x.T @ error, error.sum(axis=0))):
            m[n] = 0.9 * m[n] + 0.1 * gradient
            v[n] = 0.999 * v[n] + 0.001 * gradient**2
            m_hat = m[n] / (1 - 0.9**t)
            v_hat = v[n] / (1 - 0.999**t)
            parameters[n] = parameters[n] - RATE * m_hat / (np.sqrt(v_hat) + EPSILON)
        return float(loss), int(right)

    return step


def softmax_regression(x: Float32, targets: Targets, classes: int) -> Callable[[Float32], Any]:
    """pycoral's rule: SGD, the gradient of each row through the Jacobian [K, K] of its softmax."""
    rng = np.random.default_rng(0)
    weights, bias = 0.05 * rng.standard_normal((x.shape[1], classes)), np.zeros(classes)
    for _ in range(500):
        rows = rng.integers(0, len(x), 100)
        batch = x[rows]
        scores = batch @ weights + bias
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        error = through_jacobians(p, targets[rows])
        weights -= 0.01 * (batch.T @ error)
        bias -= 0.01 * error.sum(axis=0)
    return lambda x: (x @ weights + bias).argmax(axis=1)


def through_jacobians(p: NDArray[Any], targets: Targets) -> NDArray[Any]:
    """The gradient [B, K] of the mean cross-entropy by the logits, from probabilities [B, K]; some rows at once."""
    rows, classes = np.arange(len(p)), p.shape[1]
    slopes = np.zeros_like(p)  # of the loss by the probabilities
    slopes[rows, targets] = -1 / np.maximum(p[rows, targets], 1e-12)
    error = np.empty_like(p)
    at_once = max(1, MOST_JACOBIANS // classes**2)
    for first in range(0, len(p), at_once):
        part = slice(first, first + at_once)
        jacobians = p[part, :, None] * np.eye(classes, dtype=p.dtype) - p[part, :, None] * p[part, None, :]
        error[part] = np.einsum("bij,bj->bi", jacobians, slopes[part]) / len(p)
    return error


def scikit_learn() -> dict[str, Any]:
    """Estimators by the name of their column."""
    try:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
    except ImportError:
        return {}
    return {
        "LogisticReg": LogisticRegression(max_iter=300),
        "SGDClassifier": SGDClassifier(loss="log_loss", max_iter=20, random_state=0),
        "RidgeClassif": RidgeClassifier(),
        "LDA": LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
    }


def peers(source: ArrayExamples) -> dict[str, tuple[float, float]]:
    """Top-1 and CPU time in seconds of every peer; standardising counts for none of them."""
    raw = source.read(np.arange(source.count), np.empty((source.count, source.size), source.dtype)).astype(np.float32)
    fit, val = source.splits == TRAIN, source.splits == VAL
    x = (raw - raw[fit].mean(axis=0)) / (raw[fit].std(axis=0) + 1e-6)
    found = {}

    def fitted(name: str, fit_it: Callable[[], Callable[[Float32], Any]]) -> None:
        began = time.process_time()
        predict = fit_it()
        spent = time.process_time() - began
        found[name] = float((predict(x[val]) == source.targets[val]).mean()), spent

    for name, estimator in scikit_learn().items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of not having converged
            fitted(name, lambda: estimator.fit(x[fit], source.targets[fit]).predict)  # noqa: B023
    fitted("pycoral's", lambda: softmax_regression(x[fit], source.targets[fit], len(source.labels)))
    return found
