from functools import partial
from typing import Any

import numpy as np
import pytest

from agent.learning.solving.solvers import BLOCK, FEWEST_ROWS, SGD, Adam, SoftmaxStep, Solver, cross_entropy_gradient

D, K, B = 23, 7, 12


def random_batch(seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((B, D)).astype(np.float32), rng.integers(0, K, B).astype(np.int32)


def cross_entropy(parameters: Any, x: Any, targets: Any) -> float:
    """float64, straight from the definition."""
    logits = x @ parameters[:-1] + parameters[-1]
    exponentials = np.exp(logits)
    return float(-np.log(exponentials[np.arange(len(x)), targets] / exponentials.sum(axis=1)).mean())


def test_the_gradient_of_the_logits_agrees_with_finite_differences() -> None:
    logits, (_, targets) = np.random.default_rng(1).standard_normal((B, K)), random_batch()
    gradient = logits.copy()
    loss, _ = cross_entropy_gradient(gradient, targets)
    tiny = 1e-6
    for place in np.ndindex(B, K):
        above, below = logits.copy(), logits.copy()
        above[place] += tiny
        below[place] -= tiny
        slope = (cross_entropy_gradient(above, targets)[0] - cross_entropy_gradient(below, targets)[0]) / (2 * tiny)
        assert gradient[place] == pytest.approx(slope, abs=1e-9)
    assert loss == pytest.approx(cross_entropy(np.vstack([np.eye(K), np.zeros(K)]), logits, targets))


def test_huge_logits_overflow_nothing() -> None:
    logits = np.array([[1e30, -1e30, 0], [500, 400, -500]], np.float32)
    loss, right = cross_entropy_gradient(logits, np.array([0, 0], np.int32))
    assert (loss, right) == (0, 2)
    np.testing.assert_allclose(logits, 0, atol=1e-12)


def test_right_answers_are_counted() -> None:
    logits = np.array([[3, 1], [1, 3], [0, 2]], np.float32)
    assert cross_entropy_gradient(logits, np.array([0, 0, 1], np.int32))[1] == 2


class Keeper(SGD):
    """Changes nothing and keeps the gradient."""

    def __init__(self) -> None:
        super().__init__(0.0)

    def update(self, parameters: Any, gradient: Any) -> None:
        self.gradient = gradient.copy()


def test_the_gradient_of_the_parameters_agrees_with_finite_differences() -> None:
    raw, targets = random_batch()
    keeper = Keeper()
    shift, factor = np.linspace(-1, 1, D), np.linspace(0.5, 2, D)
    step = SoftmaxStep(D, K, B, keeper, shift, factor)
    step.parameters[:] = np.random.default_rng(2).standard_normal((D + 1, K)) / 3
    loss, _ = step(raw, targets)
    x, parameters = (raw - shift) * factor, step.parameters.astype(np.float64)
    assert loss == pytest.approx(cross_entropy(parameters, x, targets), rel=1e-5)
    tiny = 1e-6
    for place in np.ndindex(D + 1, K):
        above, below = parameters.copy(), parameters.copy()
        above[place] += tiny
        below[place] -= tiny
        slope = (cross_entropy(above, x, targets) - cross_entropy(below, x, targets)) / (2 * tiny)
        assert keeper.gradient[place] == pytest.approx(slope, abs=1e-6)


def reference_sgd(p: Any, g: Any, t: int, state: dict[str, Any], rate: float, decay: float) -> Any:
    decayed = p.copy()
    decayed[:-1] -= rate * decay * p[:-1]
    return decayed - rate * g


def reference_adam(p: Any, g: Any, t: int, state: dict[str, Any], rate: float, epsilon: float, decay: float) -> Any:
    """Kingma & Ba 2015, in the order that they recommend just before section 2.1."""
    m = state["m"] = 0.8 * state.get("m", 0) + 0.2 * g
    v = state["v"] = 0.95 * state.get("v", 0) + 0.05 * g**2
    decayed = p.copy()
    decayed[:-1] -= rate * decay * p[:-1]
    return decayed - rate * np.sqrt(1 - 0.95**t) / (1 - 0.8**t) * m / (np.sqrt(v) + epsilon)


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("rows", [4, BLOCK // 3])  # less than a block, and several with a rest
def test_sgd_agrees_with_its_formula(decay: float, rows: int) -> None:
    assert_agrees(SGD(0.05, decay), partial(reference_sgd, rate=0.05, decay=decay), rows)


@pytest.mark.parametrize("epsilon", [1e-8, 0.1])
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("rows", [4, BLOCK // 3])
def test_adam_agrees_with_its_formula(epsilon: float, decay: float, rows: int) -> None:
    reference = partial(reference_adam, rate=0.05, epsilon=epsilon, decay=decay)
    assert_agrees(Adam(0.05, 0.8, 0.95, epsilon, decay), reference, rows)


def assert_agrees(solver: Solver, reference: Any, rows: int) -> None:
    rng = np.random.default_rng(4)
    parameters = rng.standard_normal((rows, 5)).astype(np.float32)
    expected, state = parameters.astype(np.float64), dict[str, Any]()
    for t in range(1, 8):
        gradient = rng.standard_normal(parameters.shape).astype(np.float32)
        expected = reference(expected, gradient.astype(np.float64), t, state)
        solver.update(parameters, gradient)
    np.testing.assert_allclose(parameters, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_the_solvers_agree_with_torch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed here")
    rate, epsilon, decay = 0.02, 0.1, 0.2
    solver: Solver = SGD(rate, decay) if name == "sgd" else Adam(rate, epsilon=epsilon, weight_decay=decay)
    rng = np.random.default_rng(5)
    parameters = rng.standard_normal((9, 4)).astype(np.float32)
    weights = torch.nn.Parameter(torch.tensor(parameters[:-1]))
    bias = torch.nn.Parameter(torch.tensor(parameters[-1]))
    groups = [{"params": [weights], "weight_decay": decay}, {"params": [bias], "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=rate) if name == "sgd" else torch.optim.AdamW(groups, lr=rate)
    for t in range(1, 20):
        gradient = rng.standard_normal(parameters.shape).astype(np.float32)
        weights.grad, bias.grad = torch.tensor(gradient[:-1]), torch.tensor(gradient[-1])
        for group in optimizer.param_groups:
            group["eps"] = epsilon / (1 - 0.999**t) ** 0.5  # torch puts it beside the corrected root
        optimizer.step()
        solver.update(parameters, gradient)
    np.testing.assert_allclose(parameters[:-1], weights.detach().numpy(), atol=2e-5)
    np.testing.assert_allclose(parameters[-1], bias.detach().numpy(), atol=2e-5)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float16"])
def test_a_step_on_raw_bottlenecks_agrees_with_one_on_float32(dtype: str) -> None:
    rng = np.random.default_rng(6)
    raw, targets = rng.integers(0, 120, (B, D)), random_batch()[1]
    steps = [SoftmaxStep(D, K, B, Adam(0.01), 60.0, 0.02) for _ in range(2)]
    for _ in range(5):
        assert steps[0](raw.astype(dtype), targets) == steps[1](raw.astype(np.float32), targets)
    np.testing.assert_array_equal(steps[0].parameters, steps[1].parameters)


def test_a_shorter_batch_is_as_good_as_a_step_made_for_it() -> None:
    raw, targets = random_batch()
    wide, narrow = SoftmaxStep(D, K, B, SGD(0.1)), SoftmaxStep(D, K, 5, SGD(0.1))
    assert wide(raw[:5], targets[:5]) == narrow(raw[:5], targets[:5])
    np.testing.assert_allclose(wide.parameters, narrow.parameters, rtol=1e-6)


def test_a_batch_that_goes_through_in_parts_is_as_good_as_one_that_goes_at_once() -> None:
    rng = np.random.default_rng(7)
    rows = 2 * FEWEST_ROWS + 50
    raw, targets = rng.integers(0, 256, (rows, D), np.uint8), rng.integers(0, K, rows).astype(np.int32)
    steps = [
        SoftmaxStep(D, K, rows, Adam(0.01, epsilon=0.1), 60.0, 0.02),
        SoftmaxStep(D, K, rows, Adam(0.01, epsilon=0.1), np.full(D, 60.0), np.full(D, 0.02)),
    ]
    reference = np.zeros((D + 1, K), np.float32)
    solver = Adam(0.01, epsilon=0.1)
    x = (raw.astype(np.float32) - 60) * np.float32(0.02)
    for _ in range(4):
        logits = x @ reference[:-1] + reference[-1]
        expected = cross_entropy_gradient(logits, targets)
        solver.update(reference, np.vstack([x.T @ logits, logits.sum(axis=0)]))
        for step in steps:
            loss, right = step(raw, targets)
            assert loss == pytest.approx(expected[0], rel=1e-5)
            assert right == expected[1]
    for step in steps:
        np.testing.assert_allclose(step.parameters, reference, atol=1e-5)
