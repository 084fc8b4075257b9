import json
from typing import Any

import numpy as np
import pytest
from scipy import optimize, special
from sklearn import metrics as sk

from agent.learning.solving.head import softmax
from agent.learning.solving.metrics import (
    MAX_CONFUSION,
    Tally,
    calibration_error,
    evaluate,
    inverse_temperature,
    target_ranks,
    top_k_correct,
)

RNG = np.random.default_rng(0)
LABELS = ("a", "b", "c", "d", "e", "f", "g", "h")


def answers(count: int = 300, classes: int = 8) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, classes, count)
    logits = rng.standard_normal((count, classes)) + 1.5 * np.eye(classes)[targets]
    exponentials = np.exp(logits)
    return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32), targets


def test_the_figures_agree_with_scikit_learn() -> None:
    probabilities, targets = answers()
    truth = [LABELS[k] for k in targets]
    answered = probabilities.argmax(axis=1)
    figures = evaluate(probabilities, truth, LABELS)
    assert figures.images == 300
    assert figures.top1 == pytest.approx(sk.accuracy_score(targets, answered))
    assert figures.top5 == pytest.approx(sk.top_k_accuracy_score(targets, probabilities, k=5))
    assert figures.macro_recall == pytest.approx(sk.balanced_accuracy_score(targets, answered))
    assert figures.confusion is not None
    np.testing.assert_array_equal(figures.confusion, sk.confusion_matrix(targets, answered))
    precision, recall, _, counts = sk.precision_recall_fscore_support(targets, answered)
    for k, label in enumerate(LABELS):
        assert figures.per_class[label].recall == pytest.approx(recall[k])
        assert figures.per_class[label].precision == pytest.approx(precision[k])
        assert figures.per_class[label].count == counts[k]


def test_batches_add_up() -> None:
    probabilities, targets = answers()
    truth = [LABELS[k] for k in targets]
    tally = Tally(LABELS)
    for first in range(0, 300, 70):
        tally.add(probabilities[first : first + 70], truth[first : first + 70])
    assert tally.evaluation().as_dict() == evaluate(probabilities, truth, LABELS).as_dict()


def test_labels_that_the_head_does_not_know_count_as_wrong_and_are_listed() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], np.float32)
    figures = evaluate(probabilities, ["yes", "no", "maybe"], ["yes", "no"])
    assert figures.top1 == figures.top5 == pytest.approx(2 / 3)
    assert figures.unknown_labels == {"maybe": 1}
    assert figures.macro_recall == pytest.approx(2 / 3)
    assert figures.per_class["maybe"].recall == 0
    assert figures.per_class["yes"].precision == 0.5
    assert figures.confusion is not None
    assert figures.confusion.tolist() == [[1, 0], [0, 1]]


def test_a_label_without_pictures_has_no_recall_and_does_not_weigh() -> None:
    figures = evaluate(np.array([[0.9, 0.1]], np.float32), ["yes"], ["yes", "no"])
    assert figures.per_class["no"].recall is None
    assert figures.per_class["no"].precision is None
    assert figures.macro_recall == 1


def test_only_unknown_labels_are_a_score_of_zero() -> None:
    figures = evaluate(np.array([[0.9, 0.1]], np.float32), ["?"], ["yes", "no"])
    assert (figures.top1, figures.top5, figures.macro_recall) == (0, 0, 0)


def test_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match="no images"):
        Tally(LABELS).evaluation()


def test_the_figures_are_fit_for_json() -> None:
    probabilities, targets = answers()
    figures = evaluate(probabilities, [LABELS[k] for k in targets], LABELS).as_dict()
    assert {"top1", "top5", "macro_recall", "ece", "per_class", "confusion", "images"} <= figures.keys()
    assert json.loads(json.dumps(figures)) == figures


def test_equal_scores_rank_by_index() -> None:
    scores = np.array([[0.5, 0.5, 0.5], [0.5, 0.5, 0.5], [0.1, 0.5, 0.5]])
    assert target_ranks(scores, np.array([0, 2, 2])).tolist() == [0, 2, 1]
    assert top_k_correct(scores, np.array([0, 2, 2]), 2) == 2


def test_an_unknown_class_is_among_no_best() -> None:
    assert top_k_correct(np.array([[0.5, 0.5]]), np.array([-1]), 5) == 0


def test_the_calibration_error_follows_its_definition() -> None:
    rng = np.random.default_rng(1)
    top = np.concatenate([rng.random(500), [0.0, 1.0, 1 / 15]])
    correct = rng.random(503) < top**2
    expected = 0.0
    for number in range(15):
        low, high = number / 15, (number + 1) / 15
        inside = (top > low) & (top <= high) | (number == 0) & (top == 0)
        if inside.any():
            expected += inside.sum() / 503 * abs(correct[inside].mean() - top[inside].mean())
    assert calibration_error(top, correct) == pytest.approx(expected)


def test_a_head_that_is_as_sure_as_it_is_right_has_no_calibration_error() -> None:
    assert calibration_error(np.full(4, 0.75), np.array([True, True, True, False])) == pytest.approx(0)


def test_very_many_classes_have_no_confusion_matrix() -> None:
    labels = [str(k) for k in range(MAX_CONFUSION + 1)]
    probabilities = np.zeros((2, len(labels)), np.float32)
    probabilities[:, -1] = 1
    figures = evaluate(probabilities, [labels[-1], "3"], labels)
    assert figures.confusion is None
    assert figures.top1 == 0.5


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
