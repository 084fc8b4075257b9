"""What others offer for the last layer: scikit-learn, and the rule of pycoral's softmax regression."""

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.learning.solving.head import Float32, Targets
from agent.learning.training.examples import TRAIN, VAL, ArrayExamples

MOST_JACOBIANS = 1 << 22  # values, at once


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
