"""The arithmetic of a training step: softmax cross-entropy, SGD and Adam, in place.

Weights and bias are one array, the parameters [D+1, K], whose last row is the bias: a solver makes one update.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.learning.head import Float32, as_float32

# The update reads and writes four arrays of the size of the parameters some ten times: in blocks
# that stay in the cache of the processor this costs a third.
BLOCK = 16384


def cross_entropy_gradient(logits: NDArray[Any], targets: NDArray[np.int32]) -> tuple[float, int]:
    """Replace `logits` [B, K] by the gradient with respect to them of the mean cross-entropy.

    Returns that cross-entropy and how many of the B were right. `targets` [B] are class indices.
    The gradient is (softmax(logits) - onehot(targets)) / B (Bishop 2006, eq. 4.109).
    """
    rows = np.arange(len(logits))
    logits -= logits.max(axis=1, keepdims=True)
    of_target = logits[rows, targets]
    # exp(-30) is nothing beside 1 in float32. Much less, and its squares in Adam would be
    # subnormal numbers, which processors are slow with.
    np.maximum(logits, -30, out=logits)
    np.exp(logits, out=logits)
    sums = logits.sum(axis=1, keepdims=True)
    loss = float(np.mean(np.log(sums[:, 0]) - of_target))
    sums *= len(logits)
    logits /= sums
    logits[rows, targets] -= 1 / len(logits)
    return loss, int(np.count_nonzero(of_target == 0))


class Solver(Protocol):
    def update(self, parameters: Float32, gradient: Float32) -> None:
        """Change `parameters` [D+1, K] in place; `gradient` has their shape and may be overwritten."""


class SGD:
    """Plain stochastic gradient descent: p -= learning_rate * (g + weight_decay * p); no decay of the bias."""

    def __init__(self, learning_rate: float, weight_decay: float = 0.0) -> None:
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay

    def update(self, parameters: Float32, gradient: Float32) -> None:
        if self.weight_decay:
            parameters[:-1] *= 1 - self.learning_rate * self.weight_decay
        gradient *= self.learning_rate
        parameters -= gradient


class Adam:
    """Adam (Kingma & Ba 2015, the form before section 2.1, as in TensorFlow), weight decay as in AdamW.

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
    p -= learning_rate * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + epsilon)

    Epsilon stands beside the root of the uncorrected v. The form of the paper's algorithm 1 (and of torch)
    puts it beside the corrected one, which for an epsilon as large as the study's 0.1 is another method.
    """

    def __init__(
        self,
        learning_rate: float,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.learning_rate = learning_rate
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.weight_decay = weight_decay
        self._steps = 0
        self._first = np.empty(0, np.float32)  # m / (1 - beta1): saves a pass over the gradient
        self._second = np.empty(0, np.float32)  # v / (1 - beta2)
        self._scratch = np.empty(BLOCK, np.float32)

    def update(self, parameters: Float32, gradient: Float32) -> None:
        if not self._steps:
            self._first = np.zeros(parameters.size, np.float32)
            self._second = np.zeros(parameters.size, np.float32)
        self._steps += 1
        if self.weight_decay:
            parameters[:-1] *= 1 - self.learning_rate * self.weight_decay
        root = (1 - self.beta2) ** 0.5
        epsilon = self.epsilon / root
        rate = self.learning_rate * (1 - self.beta2**self._steps) ** 0.5 / (1 - self.beta1**self._steps)
        rate *= (1 - self.beta1) / root
        flat_parameters, flat_gradient = parameters.reshape(-1), gradient.reshape(-1)
        for start in range(0, parameters.size, BLOCK):
            block = slice(start, start + BLOCK)
            first, second, slope = self._first[block], self._second[block], flat_gradient[block]
            scratch = self._scratch[: len(slope)]
            first *= self.beta1
            first += slope
            np.multiply(slope, slope, out=slope)
            second *= self.beta2
            second += slope
            np.sqrt(second, out=scratch)
            scratch += epsilon
            np.divide(first, scratch, out=scratch)
            scratch *= rate
            flat_parameters[block] -= scratch


class SoftmaxStep:
    """A step of softmax regression by mini-batches, on buffers that are made once.

    The features are (raw - shift) * factor; both are numbers or arrays [D].
    `parameters` start at 0: the problem is convex, so there is no symmetry to break.
    """

    def __init__(
        self, size: int, classes: int, batch: int, solver: Solver, shift: Any = 0.0, factor: Any = 1.0
    ) -> None:
        self.parameters = np.zeros((size + 1, classes), np.float32)
        self._shift = np.asarray(shift, np.float32)
        self._factor = np.asarray(factor, np.float32)
        self._shifts = bool(np.any(self._shift))
        self._solver = solver
        self._gradient = np.empty((size + 1, classes), np.float32)
        self._features = np.empty((batch, size), np.float32)
        self._logits = np.empty((batch, classes), np.float32)

    def __call__(self, raw: NDArray[Any], targets: NDArray[np.int32]) -> tuple[float, int]:
        """Learn from a batch of raw bottlenecks [B, D] and their class indices [B]; its loss and how many were right.

        B is at most `batch`.
        """
        features, logits = self._features[: len(raw)], self._logits[: len(raw)]
        as_float32(raw, out=features)
        if self._shifts:
            features -= self._shift
        features *= self._factor
        np.matmul(features, self.parameters[:-1], out=logits)
        logits += self.parameters[-1]
        loss, right = cross_entropy_gradient(logits, targets)
        np.matmul(features.T, logits, out=self._gradient[:-1])
        np.sum(logits, axis=0, out=self._gradient[-1])
        self._solver.update(self.parameters, self._gradient)
        return loss, right
