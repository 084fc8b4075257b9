from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.learning.solving.closed_form import PrimalScatter
from agent.learning.solving.head import softmax
from agent.learning.solving.moments import Moments
from agent.learning.training.difference import Change
from agent.learning.training.updating import Solved, newton_step, solved_again

N, D, K = 400, 20, 3


def examples(count: int, seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, K, count).astype(np.int32)
    centres = np.random.default_rng(0).standard_normal((K, D)) * 10
    raw = centres[targets] + rng.standard_normal((count, D)) @ np.random.default_rng(1).standard_normal((D, D)) * 5
    return np.clip(np.rint(raw + 120), 0, 255).astype(np.uint8), targets


def solved(raw: Any, targets: Any, shrinkage: float) -> tuple[Solved, Moments]:
    moments = Moments(D, K, products=True)
    moments.add(raw, targets)
    standardisation = moments.standardisation()
    scatter = PrimalScatter(moments, standardisation, moments.means(standardisation))
    factor = scatter.factor(shrinkage)
    shares = (moments.counts / len(raw)).astype(np.float32)
    solution = factor.solve(scatter.means) * shares
    return Solved(standardisation, factor, len(raw), solution, np.zeros(K, np.float32)), moments


def directly(found: Solved, raw: Any, targets: Any, classes: int, shrinkage: float) -> Any:
    """A of these examples, in float64, with the standardisation of then and the shrinkage N / N' times as large."""
    x = found.standardisation.applied(raw).astype(np.float64)
    x -= x.mean(axis=0)
    means = np.stack([x[targets == k].mean(axis=0) for k in range(classes)], axis=1)
    return np.linalg.solve(x.T @ x / len(x) + shrinkage * found.examples / len(x) * np.eye(D), means)


@settings(max_examples=60, deadline=None)
@given(
    added=st.integers(0, 30),
    removed=st.integers(0, 30),
    moved=st.integers(0, 30),
    new_class=st.booleans(),
    shrinkage=st.sampled_from([0.1, 1.0, 10.0]),
    seed=st.integers(1, 1000),
)
def test_an_update_is_what_solving_anew_gives(
    added: int, removed: int, moved: int, new_class: bool, shrinkage: float, seed: int
) -> None:
    raw, targets = examples(N + added, seed)
    found, moments = solved(raw[:N], targets[:N], shrinkage)
    classes = K + 1 if new_class and added else K
    targets[N:] = targets[N:] if classes == K else K
    rng = np.random.default_rng(seed)
    touched = rng.permutation(N)
    gone, other = touched[:removed], touched[removed : removed + moved]
    rows = np.concatenate([np.arange(N, N + added), gone, other])
    before = np.concatenate([np.full(added, -1), targets[gone], targets[other]]).astype(np.int32)
    targets[other] = rng.integers(0, K, moved)
    after = np.concatenate([targets[N:], np.full(removed, -1), targets[other]]).astype(np.int32)
    moments = moments.without_products()
    moments.grow(classes)
    moments.change(raw[rows], before, after)
    a = solved_again(found, moments, raw[rows], Change(rows, before, after))
    stay = np.setdiff1d(np.arange(N + added), gone)
    expected = directly(found, raw[stay], targets[stay], classes, shrinkage)
    np.testing.assert_allclose(a, expected, atol=2e-4 * np.abs(expected).max())


def test_a_newton_step_lessens_the_loss_by_what_it_learns_and_the_more_by_what_is_said_again() -> None:
    raw, targets = examples(N + 10, 1)
    found, _ = solved(raw[:N], targets[:N], 0.1)
    weights, bias = found.standardisation.folded(np.zeros((D, K), np.float32), np.zeros(K, np.float32))
    found = Solved(found.standardisation, found.factor, N, weights, bias)
    new = np.arange(N, N + 10)

    def loss(weights: Any, bias: Any) -> float:
        return float(-np.log(softmax(raw[new] @ weights + bias)[np.arange(10), targets[new]]).mean())

    none = np.full(10, -1, np.int32)
    once = newton_step(found, 1.0, raw[new], Change(new, none, targets[new]))
    assert loss(*once) < loss(weights, bias)
    back = newton_step(Solved(found.standardisation, found.factor, N, *once), 1.0, raw[new], Change(new, none, none))
    np.testing.assert_array_equal(back[0], once[0])  # what neither came nor went pulls nowhere
    both = np.append(new, new)
    said = Change(both, np.append(none, none), targets[both])
    twice = newton_step(found, 1.0, raw[both], said)
    assert loss(*twice) < loss(*once)


def test_a_newton_step_for_all_examples_of_no_head_is_a_ridge_regression() -> None:
    """From zero, -gradient is X'(onehot - 1/K) and the bound of the Hessian B / 2: twice the ridge solution."""
    raw, targets = examples(N, 2)
    found, _ = solved(raw, targets, 0.1)
    nothing = Solved(found.standardisation, found.factor, N, np.zeros((D, K), np.float32), np.zeros(K, np.float32))
    weights, _ = newton_step(nothing, 1.0, raw, Change(np.arange(N), np.full(N, -1, np.int32), targets))
    x = found.standardisation.applied(raw).astype(np.float64)
    expected = 2 * np.linalg.solve(x.T @ x + 0.1 * N * np.eye(D), x.T @ (np.eye(K)[targets] - 1 / K))
    np.testing.assert_allclose(weights / found.standardisation.factor[:, None], expected, atol=1e-4)
