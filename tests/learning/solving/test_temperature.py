import numpy as np
import pytest
from scipy import optimize, special

from agent.learning.solving.head import softmax
from agent.learning.solving.metrics import calibration_error
from agent.learning.solving.temperature import inverse_temperature

RNG = np.random.default_rng(0)


def test_the_temperature_is_the_one_that_scipy_finds() -> None:
    logits = RNG.standard_normal((400, 5)).astype(np.float32) * 3
    targets = np.array([RNG.choice(5, p=special.softmax(row / 4)) for row in logits], np.int32)
    soft = 1 / 402
    wanted = soft / 5 + (1 - soft) * np.eye(5)[targets]

    def loss(bits: float) -> float:
        return float(-(wanted * special.log_softmax(2**bits * logits, axis=1)).sum())

    assert inverse_temperature(logits, targets) == pytest.approx(2 ** optimize.minimize_scalar(loss).x, rel=1e-2)


def test_a_head_that_is_too_sure_is_calibrated() -> None:
    logits = RNG.standard_normal((3000, 4)).astype(np.float32) * 2
    targets = np.array([RNG.choice(4, p=row) for row in special.softmax(logits.astype(np.float64), axis=1)], np.int32)

    def error(logits: np.ndarray) -> float:
        probabilities = softmax(logits)
        return calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == targets)

    assert error(logits * 10) > 0.15
    assert error(logits * 10 * np.float32(inverse_temperature(logits * 10, targets))) < 0.05


def test_a_few_right_answers_do_not_make_a_head_sure() -> None:
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]] * 50
    inverse = inverse_temperature(logits, np.array([0, 1, 2, 0], np.int32))
    assert softmax(logits * np.float32(inverse)).max() < 0.9
