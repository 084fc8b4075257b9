"""Seeded Gaussian classes: the head that knows their means is as good as one can be; others are worse by design."""

import numpy as np
import pytest

from agent.learning.heads.gate import MARGIN, MAX_JUDGED, Verdict, judge
from agent.learning.solving.head import Head
from agent.learning.training.examples import TRAIN, VAL, ArrayExamples
from agent.learning.training.progress import Phases

LABELS = ("can", "glass", "paper", "tin")


def examples(val: int, seed: int = 0, labels: tuple[str, ...] = LABELS, spread: float = 1.0) -> ArrayExamples:
    """40 examples to train on and `val` to validate, of classes in turn around means that do not depend on the seed."""
    rng = np.random.default_rng(seed)
    targets = np.arange(40 + val) % len(labels)
    bottlenecks = means()[targets] + spread * rng.standard_normal((len(targets), 8)).astype(np.float32)
    splits = np.where(np.arange(len(targets)) < 40, TRAIN, VAL)
    return ArrayExamples(bottlenecks.astype(np.float32), targets, labels, splits)


def means(classes: int = len(LABELS)) -> np.ndarray:
    return 2 * np.random.default_rng(99).standard_normal((classes, 8)).astype(np.float32)


def head(labels: tuple[str, ...] = LABELS, noise: float = 0.0, seed: int = 1) -> Head:
    """The discriminant of the true means, disturbed by `noise`."""
    own = means()[[LABELS.index(label) for label in labels]]
    weights = own.T + noise * np.random.default_rng(seed).standard_normal(own.T.shape).astype(np.float32)
    return Head(labels, np.ascontiguousarray(weights, np.float32), -0.5 * (own**2).sum(axis=1), "")


def verdict(new: Head, old: Head | None, source: ArrayExamples, margin: float = MARGIN) -> Verdict:
    in_service = None if old is None else ("7", old)
    return judge(new, in_service, source, margin=margin, seed=0, phases=Phases())


def test_a_worse_head_is_refused_with_its_figures() -> None:
    said = verdict(head(noise=5.0), head(), examples(400))
    assert not said.accepted
    assert said.comparison is not None
    assert said.comparison.examples == 400
    assert said.comparison.top1 < said.comparison.top1_in_service - MARGIN
    assert "worse than the head in service" in said.reason
    assert "of head 7 on 400" in said.reason


def test_an_equal_head_and_a_better_one_are_accepted() -> None:
    for old in (head(), head(noise=5.0)):
        said = verdict(head(), old, examples(400))
        assert said.accepted
        assert said.comparison is not None
        assert said.comparison.top1 >= said.comparison.top1_in_service


def one_label_wrong(count: int, wrong: int) -> tuple[Head, Head, ArrayExamples]:
    """A head that is right on `count` validation examples, one that is wrong on `wrong` of them, and those."""
    bottlenecks = np.zeros((count, 2), np.float32)
    bottlenecks[:wrong, 1] = 1
    source = ArrayExamples(bottlenecks, np.zeros(count, np.int32), ("a", "b"), np.full(count, VAL))
    right = Head(("a", "b"), np.zeros((2, 2), np.float32), np.array([1, 0], np.float32), "")
    worse = Head(("a", "b"), np.array([[0, 0], [0, 2]], np.float32), np.array([1, 0], np.float32), "")
    return right, worse, source


@pytest.mark.parametrize(
    ("count", "wrong", "accepted"),
    [
        (1, 1, True),  # by a single example nothing can be told
        (8, 2, True),
        (8, 3, False),
        (100, 2, True),
        (100, 5, False),  # 0.05 of a loss; 1.645 * sqrt(5) / 100 = 0.037 are allowed
        (2000, 40, True),  # the margin itself
        (2000, 60, False),
    ],
)
def test_the_fewer_examples_the_more_is_left_to_chance(count: int, wrong: int, accepted: bool) -> None:
    right, worse, source = one_label_wrong(count, wrong)
    said = verdict(worse, right, source)
    assert said.comparison is not None
    assert (said.comparison.lost, said.comparison.gained) == (wrong, 0)
    assert said.accepted is accepted


def test_equally_good_heads_are_seldom_refused() -> None:
    """Each is wrong on examples of its own."""
    refused = 0
    for seed in range(100):
        old, new = head(noise=0.5, seed=2 * seed + 10), head(noise=0.5, seed=2 * seed + 11)
        refused += not verdict(new, old, examples(60, seed, spread=2.5)).accepted
    assert refused <= 10


def test_a_margin_of_one_lets_every_finite_head_pass() -> None:
    right, worse, source = one_label_wrong(50, 50)
    assert not verdict(worse, right, source, margin=0.5).accepted
    assert verdict(worse, right, source, margin=1.0).accepted


def test_a_new_label_neither_helps_nor_blocks_and_is_told_apart() -> None:
    source = examples(400)
    old = head(LABELS[:3])
    said = verdict(head(), old, source)
    assert said.accepted
    assert said.comparison is not None
    assert said.comparison.examples == 300
    assert said.comparison.top1 == said.comparison.top1_in_service  # they differ in the new label alone
    assert said.new_labels["tin"].count == 100
    assert (said.new_labels["tin"].recall or 0) > 0.8
    assert not verdict(head(noise=5.0), old, source).accepted


def test_a_label_that_was_removed_does_not_count_against_the_new_head() -> None:
    said = verdict(head(LABELS[1:]), head(), examples(400))
    assert said.accepted
    assert said.removed_labels == ("can",)
    assert said.comparison is not None
    assert said.comparison.examples == 300


def test_heads_that_share_no_label_are_not_compared() -> None:
    said = verdict(head(LABELS[:2]), head(LABELS[2:]), examples(40))
    assert (said.accepted, said.comparison) == (True, None)
    assert set(said.new_labels) == {"can", "glass"}


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_a_head_whose_answers_are_not_finite_is_refused_even_without_validation_examples(bad: float) -> None:
    weights = head().weights.copy()
    weights[3] = bad
    broken = Head(LABELS, weights, head().bias, "")
    for source in (examples(0), examples(40)):
        said = verdict(broken, None, source)
        assert not said.accepted
        assert "not finite" in said.reason


def test_without_validation_examples_or_a_head_in_service_finite_answers_are_enough() -> None:
    said = verdict(head(noise=5.0), head(), examples(0))
    assert (said.accepted, said.comparison) == (True, None)
    assert "no validation examples" in said.reason
    said = verdict(head(noise=5.0), None, examples(40))
    assert said.accepted
    assert "no head was in service" in said.reason


def test_a_head_of_another_backbone_is_no_measure() -> None:
    other = Head(("a", "b"), np.zeros((3, 2), np.float32), np.zeros(2, np.float32), "f" * 32)
    said = verdict(head(), other, examples(40))
    assert said.accepted
    assert "another backbone" in said.reason


def test_a_damaged_head_in_service_does_not_block_a_good_one() -> None:
    broken = Head(LABELS, np.full((8, 4), np.nan, np.float32), np.zeros(4, np.float32), "")
    assert verdict(head(), broken, examples(40)).accepted


def test_of_many_validation_examples_the_same_sample_is_drawn_each_time() -> None:
    source = examples(3 * MAX_JUDGED, spread=2.0)
    first, again = (verdict(head(noise=0.5), head(), source) for _ in range(2))
    assert first.comparison is not None
    assert first.comparison == again.comparison
    assert first.comparison.examples == MAX_JUDGED


def test_the_verdict_is_fit_for_json() -> None:
    import json

    said = verdict(head(), head(LABELS[:3]), examples(400)).as_dict()
    assert json.loads(json.dumps(said))["comparison"]["version"] == "7"
