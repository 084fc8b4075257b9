from typing import Any

import numpy as np

from agent.learning.solving.head import softmax
from agent.learning.training import renewal
from agent.learning.training.automatic import Choice
from agent.learning.training.examples import TRAIN
from agent.learning.training.progress import Watch
from agent.learning.training.recipe import Recipe
from agent.learning.training.settings import Settings
from agent.learning.training.sums import Statistics
from agent.learning.training.training import train
from agent.learning.training.trainingset import TrainingSet
from tests.learning.training.test_sums import LABELS, Counting, D, Pictures, followed, stored


def adam(statistics: Statistics, pictures: Pictures, rows: Any) -> Counting:
    """As if Adam had been the best on these rows: its head after some steps is what is kept."""
    source = pictures.cache(rows)
    training = train(source, Settings(solver="adam", standardise=True, steps=300, epsilon=1e-8, learning_rate=0.001))
    followed(statistics, source)
    watch = Watch()
    train_rows = np.flatnonzero(source.splits == TRAIN)
    examples = TrainingSet(
        source, train_rows, source.targets, len(source.labels), 1 << 20, watch,
        lambda: statistics.follow(source, train_rows, source.labels, source.targets, watch),
    )  # fmt: skip
    recipe = Recipe("adam", learning_rate=0.001, epsilon=1e-8, steps=300)
    choice = Choice(recipe, training.head.weights, training.head.bias, 1.0, "")
    renewal.keep(examples, source.labels, choice, statistics)
    return source


def test_a_few_changes_are_worked_into_the_solution_and_nothing_is_written() -> None:
    pictures = Pictures()
    statistics = Statistics("b", D)
    first = train(pictures.cache(np.arange(2900)), statistics=statistics)
    assert first.candidates
    statistics = stored(statistics)
    pictures.labels[5:7] = 3  # a new class
    source = pictures.cache(np.arange(1, 2904), departed=[0])
    update = train(source, statistics=statistics)
    assert not update.candidates
    assert "kept solution" in update.reason
    assert update.head.labels == LABELS
    assert source.rows_read < 400  # what has changed, and the validation examples
    assert not statistics.is_worth_storing
    from_sums = Statistics("b", D)
    followed(from_sums, source)
    from_sums.chosen = statistics.chosen
    expected = train(source, statistics=from_sums)
    assert "kept sums" in expected.reason
    np.testing.assert_allclose(update.head.weights, expected.head.weights, atol=2e-3)  # not the same standardisation
    np.testing.assert_allclose(update.head.bias, expected.head.bias, atol=0.1)
    assert "6 have changed" in update.reason
    again = train(pictures.cache(np.arange(1, 2902), departed=[0]), statistics=statistics)
    assert "5 have changed since, so that only these were worked into the kept solution" in again.reason


def test_more_changes_are_solved_from_the_sums_and_stored() -> None:
    pictures = Pictures()
    statistics = Statistics("b", D)
    train(pictures.cache(np.arange(2900)), statistics=statistics)
    statistics = stored(statistics)
    source = pictures.cache(np.arange(2920))
    update = train(source, statistics=statistics)
    assert "kept sums" in update.reason
    assert source.rows_read < 400
    assert statistics.is_worth_storing
    assert "kept solution" in train(pictures.cache(np.arange(2922)), statistics=stored(statistics)).reason


def test_examples_that_are_gone_cost_a_pass_and_no_new_choice() -> None:
    pictures = Pictures()
    statistics = Statistics("b", D)
    train(pictures.cache(np.arange(2900)), statistics=statistics)
    source = pictures.cache(np.arange(5, 2900))
    update = train(source, statistics=statistics)
    assert not update.candidates
    assert source.rows_read > 2000
    assert statistics.chosen is not None
    assert statistics.chosen.changed == 5


def test_after_adam_the_head_makes_a_step_for_what_has_changed() -> None:
    pictures = Pictures()
    statistics = Statistics("b", D)
    before = adam(statistics, pictures, np.arange(2900))
    statistics = stored(statistics)
    same = train(before, statistics=statistics)
    assert statistics.solved is not None
    np.testing.assert_array_equal(same.head.weights, statistics.solved.solution)
    wrong = int(np.flatnonzero((pictures.splits == TRAIN) & (pictures.labels == 0))[0])
    pictures.labels[wrong] = 1
    source = pictures.cache(np.arange(2900))
    update = train(source, statistics=statistics)
    assert "Newton" in update.reason
    assert not update.candidates
    assert source.rows_read < 400
    row = pictures.raw[wrong].astype(np.float32)
    said = [float(softmax(head.logits(row)[None])[0, 1]) for head in (same.head, update.head)]
    assert said[1] > said[0]
    assert np.abs(update.head.weights - same.head.weights).max() < 0.01


def test_after_adam_a_new_label_or_many_changes_are_reason_to_choose_anew() -> None:
    for change in ("label", "many"):
        pictures = Pictures()
        statistics = Statistics("b", D)
        adam(statistics, pictures, np.arange(2800))
        if change == "label":
            pictures.labels[5:7] = 3
        assert train(pictures.cache(np.arange(2800 if change == "label" else 2830)), statistics=statistics).candidates


def test_after_many_changes_all_solvers_are_compared_again() -> None:
    pictures = Pictures()
    statistics = Statistics("b", D)
    train(pictures.cache(np.arange(2000)), statistics=statistics)
    assert not train(pictures.cache(np.arange(2100)), statistics=statistics).candidates
    assert train(pictures.cache(np.arange(2300)), statistics=statistics).candidates
    assert not train(pictures.cache(np.arange(2310)), statistics=statistics).candidates


def test_a_removed_class_is_not_in_the_head() -> None:
    pictures = Pictures()
    statistics = Statistics("b", D)
    pictures.labels[:4] = 3
    assert train(pictures.cache(np.arange(2000)), statistics=statistics).head.labels == LABELS
    pictures.labels[:4] = 0
    update = train(pictures.cache(np.arange(2000)), statistics=statistics)
    assert not update.candidates
    assert update.head.labels == LABELS[:3]
    assert np.isfinite(update.head.weights).all()
