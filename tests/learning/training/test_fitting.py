import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.learning.training import arrayfile
from agent.learning.training.arrayfile import ArrayFile
from agent.learning.training.settings import Recipe
from agent.learning.training.sums import STORE_AGAIN_ONE_IN, Statistics
from agent.learning.training.train import Training, train
from tests.learning.training.test_sums import LABELS, Counting, D, Pictures, followed, stored

# Of the largest weight. What is summed up in another order differs by rounding, more so with i386's reference BLAS.
TOLERANCE = 1e-5 if sys.maxsize > 1 << 32 else 3e-5


def anew(source: Counting, statistics: Statistics) -> Training:
    """What a pass over all examples gives for the choice of these statistics."""
    fresh = Statistics("b", D)
    followed(fresh, source)
    fresh.chosen = statistics.chosen
    return train(source, statistics=fresh)


def assert_same_head(ours: Training, expected: Training) -> None:
    assert ours.head.labels == expected.head.labels
    for mine, its in ((ours.head.weights, expected.head.weights), (ours.head.bias, expected.head.bias)):
        np.testing.assert_allclose(mine, its, rtol=0, atol=TOLERANCE * np.abs(its).max())


@pytest.mark.parametrize("recipe", [Recipe("lda", shrinkage=0.1), Recipe("lda", shrinkage=10.0), Recipe("ridge", 0.3)])
def test_a_head_from_sums_that_followed_is_the_head_from_sums_from_the_start(recipe: Recipe) -> None:
    pictures = Pictures()
    statistics = Statistics("b", D)
    followed(statistics, pictures.cache(np.arange(2900)))
    statistics.chose(recipe, 0.7)
    statistics = stored(statistics)
    pictures.labels[5:7] = 3  # a new class
    source = pictures.cache(np.arange(1, 2904), departed=[0])
    update = train(source, statistics=statistics)
    assert "6 have changed since, so that only the kept sums were brought up to date" in update.reason
    assert not update.candidates
    assert update.head.labels == LABELS
    assert source.rows_read < 400  # what has changed, and the validation examples
    assert_same_head(update, anew(source, statistics))


def test_many_updates_one_after_the_other_are_as_exact() -> None:
    pictures = Pictures()
    statistics = Statistics("b", D)
    train(pictures.cache(np.arange(2400)), statistics=statistics)
    assert statistics.chosen is not None
    statistics.chose(Recipe("lda", shrinkage=0.1), 1.0)
    for count in range(2404, 2600, 4):
        pictures.labels[count - 2400] = 0
        source = pictures.cache(np.arange(count))
        update = train(source, statistics=statistics)
        assert not update.candidates
    assert_same_head(update, anew(source, statistics))


@pytest.mark.parametrize(("new", "is_stored"), [(D // STORE_AGAIN_ONE_IN, False), (D // 2, True)])
def test_a_few_changes_are_not_written_and_many_are(new: int, is_stored: bool) -> None:
    pictures = Pictures()
    statistics = Statistics("b", D)
    train(pictures.cache(np.arange(2880)), statistics=statistics)
    statistics = stored(statistics)
    assert not train(pictures.cache(np.arange(2880 + new)), statistics=statistics).candidates
    assert statistics.is_worth_storing is is_stored


def test_a_file_that_also_holds_what_was_solved_is_followed_all_the_same(tmp_path: Path) -> None:
    """As it was written before there were only the sums."""
    pictures = Pictures()
    statistics = Statistics("b", D)
    train(pictures.cache(np.arange(2900)), statistics=statistics)
    statistics.save(tmp_path / "now")
    file = ArrayFile(tmp_path / "now")
    solved: dict[str, Any] = {"shift": D, "factor": D, "solution": (D, 3), "bias": 3, "lower": D * (D + 1) // 2}
    arrays = {name: file.read(name) for name in file.names}
    arrays |= {name: np.ones(shape, np.float32) for name, shape in solved.items()}
    arrayfile.save(tmp_path / "before", {**file.header, "solved_examples": 2900}, arrays)
    loaded = Statistics.load(tmp_path / "before")
    assert loaded is not None
    source = pictures.cache(np.arange(2905))
    update = train(source, statistics=loaded)
    assert not update.candidates
    assert source.rows_read < 400
    assert_same_head(update, anew(source, statistics))
    loaded.save(tmp_path / "after")
    assert set(ArrayFile(tmp_path / "after").names) == set(file.names)


def test_examples_that_are_gone_cost_a_pass_and_no_new_choice() -> None:
    pictures = Pictures()
    statistics = Statistics("b", D)
    train(pictures.cache(np.arange(2900)), statistics=statistics)
    statistics = stored(statistics)
    source = pictures.cache(np.arange(5, 2900))
    update = train(source, statistics=statistics)
    assert not update.candidates
    assert source.rows_read > 2000
    assert statistics.chosen is not None
    assert statistics.chosen.changed == 5
    assert statistics.is_worth_storing  # or the next one would cost a pass too


def test_after_adam_every_change_is_reason_to_choose_again() -> None:
    pictures = Pictures()
    statistics = Statistics("b", D)
    followed(statistics, pictures.cache(np.arange(2900)))
    statistics.chose(Recipe("adam", learning_rate=0.001, epsilon=1e-8, steps=300), 1.0)
    statistics = stored(statistics)
    assert train(pictures.cache(np.arange(2901)), statistics=statistics).candidates


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
    assert_same_head(update, anew(pictures.cache(np.arange(2000)), statistics))
