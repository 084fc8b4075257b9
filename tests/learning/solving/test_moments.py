"""A column matters by what it tells, and not by its scale, nor by how far it lies from 0."""

from typing import Any

import numpy as np
import pytest

from agent.learning.solving.head import Head, linear
from agent.learning.solving.moments import Moments, units
from agent.learning.training.examples import TRAIN, VAL, ArrayExamples
from agent.learning.training.settings import Settings
from agent.learning.training.train import train

D, K = 20, 3
MIXED = 10.0 ** np.linspace(-9, 6, D)
WAYS: dict[str, tuple[Any, Any]] = {  # factor and offset of each column
    "large": (1e6, 0),
    "small": (1e-9, 0),
    "far": (1, 1e6),
    "mixed": (MIXED, 0),
    "mixed and far": (MIXED, 1e3 * MIXED),
    "as large as is taken": (1e18, 0),
    "as small as is taken": (1e-18, 0),
}


def drawn(count: int, seed: int) -> tuple[Any, Any]:
    """Of K classes, told apart by the first columns alone."""
    centres = np.random.default_rng(5).normal(size=(K, D)) * 2
    centres[:, 6:] = 0
    targets = np.arange(count) % K
    return np.random.default_rng(seed).normal(size=(count, D)) + centres[targets], targets


def examples(x: Any, targets: Any, way: str) -> ArrayExamples:
    factor, offset = WAYS.get(way, (1, 0))
    splits = np.where(np.arange(len(x)) % 5 == 4, VAL, TRAIN).astype(np.uint8)
    return ArrayExamples((x * factor + offset).astype(np.float32), targets, ("a", "b", "c"), splits)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [30, 150, 1500], ids=["dual", "folds", "primal"])
def test_a_head_answers_the_same_whatever_the_scale_of_the_columns(way: str, count: int) -> None:
    x, targets = drawn(count, 1)
    unseen, truth = drawn(600, 2)
    plain = train(examples(x, targets, "plain")).head
    head = train(examples(x, targets, way)).head
    head.check()
    expected = plain.logits(unseen.astype(np.float32)).argmax(axis=1)
    factor, offset = WAYS[way]
    found = head.logits((unseen * factor + offset).astype(np.float32)).argmax(axis=1)
    assert np.mean(found == expected) > 0.93
    assert np.mean(found == truth) > np.mean(expected == truth) - 0.04


@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("mixed", "mixed and far")])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_descent_by_steps_learns_as_well(way: str, solver: Any) -> None:
    x, targets = drawn(400, 1)
    unseen, truth = drawn(600, 2)
    settings = Settings(solver=solver, steps=300, validate_every=100)
    head = train(examples(x, targets, way), settings).head
    factor, offset = WAYS[way]
    found = head.logits((unseen * factor + offset).astype(np.float32)).argmax(axis=1)
    plain = train(examples(x, targets, "plain"), settings).head
    expected = plain.logits(unseen.astype(np.float32)).argmax(axis=1)
    assert np.mean(found == truth) > np.mean(expected == truth) - 0.03


@pytest.mark.parametrize("way", WAYS)
def test_sums_that_follow_are_those_from_the_start(way: str) -> None:
    x, targets = drawn(2000, 1)
    raw = examples(x, targets, way)._bottlenecks
    classes = targets.astype(np.int32)
    followed, fresh = Moments(D, K, products=True), Moments(D, K, products=True)
    for first in range(0, 2000, 500):
        block = slice(first, first + 500)
        for moments in (followed, fresh) if first < 1500 else (followed,):
            moments.add(raw[block], classes[block])
    gone = np.arange(1500, 2000)
    followed.change(raw[gone], classes[gone], np.full(500, -1, np.int32))
    ours, its = followed.standardisation(), fresh.standardisation()
    np.testing.assert_allclose(ours.factor, its.factor, rtol=1e-5)
    assert (np.abs(ours.shift - its.shift) * its.factor).max() < 0.07  # 1e6 is exact to a sixteenth
    np.testing.assert_allclose(followed.scatter(ours), fresh.scatter(its), atol=1e-4)


def test_columns_of_about_one_scale_are_counted_in_one_unit() -> None:
    x = np.random.default_rng(0).normal(size=(500, D)).astype(np.float32) * np.linspace(0.3, 3, D, dtype=np.float32)
    assert len(set(units(x).tolist())) == 1


def test_a_column_that_is_mostly_at_rest_is_not_blown_up_and_one_of_another_scale_is() -> None:
    x = np.random.default_rng(0).random((500, D)).astype(np.float32)
    x[:, 0] = 0
    x[3, 0] = 0.01  # seen once
    x[:, 1] *= 1e-6
    x[:, 2] *= 1e6
    x[:, 3] = 7  # never changes
    found = units(x) / np.median(units(x))
    np.testing.assert_allclose(found[[0, 3]], 1)
    np.testing.assert_allclose(found[1:3], [1e-6, 1e6], rtol=0.1)


def test_a_column_that_awakes_late_does_not_outweigh_the_others() -> None:
    x, targets = drawn(2000, 1)
    x[:, -1] = 0
    x[1500:, -1] = 1e9
    unseen, truth = drawn(600, 2)
    unseen[:, -1] = 0
    head = train(examples(x, targets, "plain")).head
    assert np.mean(head.logits(unseen.astype(np.float32)).argmax(axis=1) == truth) > 0.8


def test_bytes_have_one_scale_and_are_counted_in_themselves() -> None:
    moments = Moments(2, 2, products=True)
    moments.add(np.array([[0, 10], [255, 11]], np.uint8), np.array([0, 1], np.int32))
    assert moments.unit is None


def test_an_answer_to_what_lies_far_from_0_keeps_its_digits() -> None:
    rng = np.random.default_rng(0)
    raw = (1e6 + rng.normal(size=(50, 2000))).astype(np.float32)
    weights = rng.normal(size=(2000, 3)).astype(np.float32)
    bias = (-raw[:25].astype(np.float64).mean(axis=0) @ weights).astype(np.float32)
    exact = raw.astype(np.float64) @ weights.astype(np.float64) + bias
    np.testing.assert_allclose(linear(raw, weights, bias), exact, rtol=1e-5)
    head = Head(("a", "b", "c"), weights, bias, "0" * 32)
    np.testing.assert_allclose(head.logits(raw[0]), exact[0], rtol=1e-5)
