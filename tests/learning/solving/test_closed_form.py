from typing import Any

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge

from agent.learning.solving import closed_form
from agent.learning.solving.closed_form import DualScatter, PrimalScatter, discriminant, ridge
from agent.learning.solving.moments import FEW_CLASSES, STRIP, Moments, Standardisation

N, D, K = 120, 15, 4


def examples(seed: int = 0, offset: float = 0.0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    targets = rng.choice(K, N, p=[0.4, 0.3, 0.2, 0.1]).astype(np.int32)
    means = rng.standard_normal((K, D))
    spread = rng.standard_normal((D, D)) / 2
    return (means[targets] + rng.standard_normal((N, D)) @ spread + offset).astype(np.float32), targets


def prepared(x: Any, targets: Any) -> tuple[Standardisation, PrimalScatter, DualScatter, Any]:
    moments = Moments(D, K, products=True)
    for first in range(0, len(x), 50):
        moments.add(x[first : first + 50], targets[first : first + 50])
    standardisation = moments.standardisation()
    primal = PrimalScatter(moments, standardisation, moments.means(standardisation))
    dual = DualScatter(standardisation.applied(x), targets, moments.counts)
    return standardisation, primal, dual, moments.counts / moments.counts.sum()


@pytest.mark.parametrize("shrinkage", [0.1, 1, 10])
def test_ridge_agrees_with_scikit_learn(shrinkage: float) -> None:
    x, targets = examples()
    standardisation, primal, _, shares = prepared(x, targets)
    weights, bias = ridge(primal.solve(shrinkage), shares)
    standard = standardisation.applied(x).astype(np.float64)
    expected = Ridge(alpha=shrinkage * N).fit(standard, np.eye(K)[targets])
    np.testing.assert_allclose(weights, expected.coef_.T, atol=1e-5)
    np.testing.assert_allclose(bias, expected.intercept_, atol=1e-5)


class ShiftedCovariance:
    """What scikit-learn's LDA calls an estimator: the covariance of one class, plus shrinkage * I."""

    def __init__(self, shrinkage: float) -> None:
        self.shrinkage = shrinkage

    def fit(self, x: Any) -> None:
        self.covariance_ = np.cov(x.T, bias=True) + self.shrinkage * np.eye(x.shape[1])


@pytest.mark.parametrize("shrinkage", [0.1, 1, 10])
def test_the_discriminant_agrees_with_scikit_learn(shrinkage: float) -> None:
    x, targets = examples()
    standardisation, primal, _, shares = prepared(x, targets)
    weights, bias = discriminant(primal.solve(shrinkage), primal.means, shares)
    standard = standardisation.applied(x).astype(np.float64)
    reference = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=ShiftedCovariance(shrinkage))
    reference.fit(standard, targets)
    np.testing.assert_allclose(weights, reference.coef_.T, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(bias, reference.intercept_, rtol=1e-3, atol=1e-5)


def test_the_dual_gives_what_the_primal_gives() -> None:
    x, targets = examples()
    _, primal, dual, _ = prepared(x, targets)
    for shrinkage in (0.1, 1, 10):
        np.testing.assert_allclose(dual.solve(shrinkage), primal.solve(shrinkage), rtol=1e-3, atol=1e-4)


def test_a_column_far_from_zero_keeps_its_variance() -> None:
    near, far = prepared(*examples())[0], prepared(*examples(offset=3000.0))[0]
    np.testing.assert_allclose(far.factor, near.factor, rtol=1e-3)


def test_standardised_columns_are_centred_and_of_about_the_mean_variance() -> None:
    x, targets = examples()
    standard = prepared(x * np.float32(7), targets)[0].applied(x * np.float32(7))
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=1e-5)
    assert 0.5 < standard.var() < 1.5


def test_moments_without_products_standardise_the_same() -> None:
    x, targets = examples()
    moments = Moments(D, K, products=False)
    moments.add(x, targets)
    for ours, expected in zip(moments.standardisation(), prepared(x, targets)[0], strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="without products"):
        moments.scatter(moments.standardisation())


@pytest.mark.parametrize("size", [1, closed_form.BLOCK, STRIP + closed_form.BLOCK + 3])
def test_sizes_beside_those_of_the_blocks_are_solved_as_numpy_does(size: int) -> None:
    rng = np.random.default_rng(3)
    raw, targets = rng.standard_normal((2 * size + 9, size)), rng.integers(0, 2, 2 * size + 9).astype(np.int32)
    moments = Moments(size, 2, products=True)
    moments.add(raw, targets)
    standardisation = moments.standardisation()
    x = standardisation.applied(raw).astype(np.float64)
    total, means = x.T @ x / len(x), np.stack([x[targets == k].mean(axis=0) for k in range(2)], axis=1)
    primal = PrimalScatter(moments, standardisation, moments.means(standardisation))
    np.testing.assert_allclose(moments.scatter(standardisation), total, atol=1e-5)
    expected = np.linalg.solve(total + 0.1 * np.eye(size), means)
    np.testing.assert_allclose(primal.solve(0.1), expected, rtol=1e-3, atol=1e-4)


def test_the_sums_of_many_classes_are_those_of_few() -> None:
    x, targets = examples()
    few, many = Moments(D, K, products=True), Moments(D, FEW_CLASSES + 1, products=True)
    for moments in (few, many):
        moments.add(x, targets)
        moments.change(x[:7], targets[:7], np.full(7, -1, np.int32))
    np.testing.assert_allclose(many.sums[:K], few.sums, atol=1e-4)
    assert many.counts[:K].tolist() == few.counts.tolist()


def test_folding_is_exact_within_float32() -> None:
    x, targets = examples()
    raw = np.clip(x * 20 + 100, 0, 255).astype(np.uint8)
    standardisation = prepared(raw, targets)[0]
    rng = np.random.default_rng(2)
    weights, bias = rng.standard_normal((D, K)).astype(np.float32), rng.standard_normal(K).astype(np.float32)
    folded_weights, folded_bias = standardisation.folded(weights, bias)
    expected = standardisation.applied(raw) @ weights + bias
    np.testing.assert_allclose(raw.astype(np.float32) @ folded_weights + folded_bias, expected, atol=1e-4)


def test_columns_that_never_change_and_classes_of_one_example_divide_by_nothing() -> None:
    moments = Moments(3, 2, products=True)
    moments.add(np.array([[7, 0, 1], [7, 0, 2]], np.uint8), np.array([0, 1], np.int32))
    standardisation = moments.standardisation()
    primal = PrimalScatter(moments, standardisation, moments.means(standardisation))
    weights, bias = discriminant(primal.solve(1.0), primal.means, np.array([0.5, 0.5]))
    assert np.isfinite(weights).all()
    assert np.isfinite(bias).all()
    constant = Moments(3, 2, products=False)
    constant.add(np.full((2, 3), 9, np.uint8), np.array([0, 1], np.int32))
    assert np.isfinite(constant.standardisation().factor).all()
