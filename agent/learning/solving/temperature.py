"""Temperature: what makes probabilities mean what they say."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.learning.solving.head import Float32, Targets, softmax

_BITS = (-16.0, 16.0)


def inverse_temperature(logits: Float32, targets: Targets) -> float:
    """The b for which softmax(b * logits) has the least cross-entropy (Guo et al. 2017), by bisection.

    Logits [B, K], class indices [B]. The targets are softened by one wrong answer among B + 2 (as
    Platt 1999 does), so that a few examples that are all right do not make a head sure of everything.
    """
    soft = 1 / (len(logits) + 2)
    wanted = (1 - soft) * logits[np.arange(len(logits)), targets] + soft * logits.mean(axis=1)
    low, high = _BITS
    for _ in range(18):  # the cross-entropy is convex in b: look for the zero of its slope
        middle = (low + high) / 2
        expected = np.einsum("bk,bk->b", softmax(logits * np.float32(2**middle)), logits)
        if float((expected - wanted).sum()) < 0:
            low = middle
        else:
            high = middle
    return float(2**low)


def cross_entropies(logits: NDArray[Any], targets: NDArray[np.int32]) -> NDArray[Any]:
    """[B]"""
    shifted = logits - logits.max(axis=1, keepdims=True)
    of_target = shifted[np.arange(len(logits)), targets]
    sums: NDArray[Any] = np.exp(shifted, out=shifted).sum(axis=1)
    losses: NDArray[Any] = np.log(sums) - of_target
    return losses
