"""The arithmetic of a training step: softmax cross-entropy, SGD and Adam, in place.

Weights and bias are one array, the parameters [D+1, K], whose last row is the bias: a solver makes one update.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.learning.solving.head import Float32, as_float32

# The update reads and writes four arrays of the size of the parameters some ten times: in blocks
# that stay in the cache of the processor this costs a third.
BLOCK = 32768

# A batch goes through in parts. With few classes the products are short, and it pays that the rows are still
# in the cache of the processor for the second one; with many it pays to add up few gradients.
FEWEST_ROWS, MOST_ROWS, ROWS_A_CLASS = 128, 1024, 16


def cross_entropy_gradient(
    logits: NDArray[Any], targets: NDArray[np.int32], batch: int | None = None
) -> tuple[float, int]:
    """Replace `logits` [B, K] by the gradient with respect to them of the cross-entropy, summed over B / `batch`.

    Returns that cross-entropy and how many of the B were right. `targets` [B] are class indices. `batch`
    is B unless these rows are a part of a larger one, of which the mean is wanted.
    The gradient is (softmax(logits) - onehot(targets)) / batch (Bishop 2006, eq. 4.109).
    """
    batch = batch or len(logits)
    rows = np.arange(len(logits))
    logits -= logits.max(axis=1, keepdims=True)
    of_target = logits[rows, targets]
    # exp(-30) is nothing beside 1 in float32. Much less, and its squares in Adam would be
    # subnormal numbers, which processors are slow with.
    np.maximum(logits, -30, out=logits)
    np.exp(logits, out=logits)
    sums = logits.sum(axis=1, keepdims=True)
    loss = float(np.sum(np.log(sums[:, 0]) - of_target)) / batch
    sums *= batch
    logits /= sums
    logits[rows, targets] -= 1 / batch
    return loss, int(np.count_nonzero(of_target == 0))


class Solver(Protocol):
    def update(self, parameters: Float32, gradient: Float32) -> None:
        """Change `parameters` [D+1, K] in place; `gradient` has their shape and may be overwritten."""

    def state(self) -> dict[str, NDArray[Any]]:
        """What it remembers of its steps, not copied."""

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave."""


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

    def state(self) -> dict[str, NDArray[Any]]:
        return {}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        pass


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
        rate = self.learning_rate * (1 - self.beta2**self._steps) ** 0.5 / (1 - self.beta1**self._steps)
        # As float32, and with `out` by position: at blocks of this size numpy's own work for a call is felt.
        rate32 = np.float32(rate * (1 - self.beta1) / root)
        beta1, beta2, epsilon = np.float32(self.beta1), np.float32(self.beta2), np.float32(self.epsilon / root)
        flat_parameters, flat_gradient = parameters.reshape(-1), gradient.reshape(-1)
        for start in range(0, parameters.size, BLOCK):
            block = slice(start, start + BLOCK)
            first, second, slope, values = (
                array[block] for array in (self._first, self._second, flat_gradient, flat_parameters)
            )
            scratch = self._scratch[: len(slope)]
            np.multiply(first, beta1, first)
            np.add(first, slope, first)
            np.square(slope, scratch)
            np.multiply(second, beta2, second)
            np.add(second, scratch, second)
            np.sqrt(second, scratch)
            np.add(scratch, epsilon, scratch)
            np.divide(first, scratch, scratch)
            np.multiply(scratch, rate32, scratch)
            np.subtract(values, scratch, values)

    def state(self) -> dict[str, NDArray[Any]]:
        return {"steps": np.array(self._steps, np.int64), "first": self._first, "second": self._second}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        self._steps = int(state["steps"])
        self._first, self._second = state["first"].copy(), state["second"].copy()


class SoftmaxStep:
    """A step of softmax regression by mini-batches, on buffers that are made once.

    The features are (raw - shift) * factor; both are numbers or arrays [D]. A factor that is the same for all columns
    never touches the features [B, D]: it is applied to the products, which are smaller.
    `parameters` start at 0: the problem is convex, so there is no symmetry to break.
    """

    def __init__(
        self, size: int, classes: int, batch: int, solver: Solver, shift: Any = 0.0, factor: Any = 1.0
    ) -> None:
        self.parameters = np.zeros((size + 1, classes), np.float32)
        shift, factor = np.asarray(shift, np.float32), np.asarray(factor, np.float32)
        self._shift = shift if np.any(shift) else None
        of_columns = bool(np.ptp(factor))
        self._factor = factor if of_columns else None
        self._scale = np.float32(1) if of_columns else np.float32(factor.flat[0])
        self._solver = solver
        self._rows = min(batch, max(FEWEST_ROWS, min(MOST_ROWS, ROWS_A_CLASS * classes)))
        self._gradient = np.empty((size + 1, classes), np.float32)
        self._partial = np.empty((size if batch > self._rows else 0, classes), np.float32)
        self._features = np.empty((self._rows, size), np.float32)
        self._logits = np.empty((self._rows, classes), np.float32)

    def __call__(self, raw: NDArray[Any], targets: NDArray[np.int32]) -> tuple[float, int]:
        """Learn from a batch of raw bottlenecks [B, D] and their class indices [B]; its loss and how many were right.

        B is at most `batch`.
        """
        loss, right = 0.0, 0
        for first in range(0, len(raw), self._rows):
            part = slice(first, first + self._rows)
            part_loss, part_right = self._add_gradient(raw[part], targets[part], len(raw), overwrite=first == 0)
            loss, right = loss + part_loss, right + part_right
        self._solver.update(self.parameters, self._gradient)
        return loss, right

    def _add_gradient(
        self, raw: NDArray[Any], targets: NDArray[np.int32], batch: int, *, overwrite: bool
    ) -> tuple[float, int]:
        features, logits = self._features[: len(raw)], self._logits[: len(raw)]
        weights, bias = self._gradient[:-1], self._gradient[-1]
        as_float32(raw, out=features)
        if self._shift is not None:
            np.subtract(features, self._shift, features)
        if self._factor is not None:
            np.multiply(features, self._factor, features)
        np.matmul(features, self.parameters[:-1], logits)
        if self._scale != 1:
            np.multiply(logits, self._scale, logits)
        np.add(logits, self.parameters[-1], logits)
        loss, right = cross_entropy_gradient(logits, targets, batch)
        of_bias = np.sum(logits, axis=0)
        if self._scale != 1:
            np.multiply(logits, self._scale, logits)
        np.matmul(features.T, logits, weights if overwrite else self._partial)
        if overwrite:
            bias[:] = of_bias
        else:
            np.add(weights, self._partial, weights)
            np.add(bias, of_bias, bias)
        return loss, right
