import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import StateError, TrainingError
from agent.learning.solving.moments import Moments
from agent.learning.training.examples import TRAIN, VAL, ArrayExamples
from agent.learning.training.progress import Watch
from agent.learning.training.settings import Recipe, Settings
from agent.learning.training.sums import Statistics
from agent.learning.training.train import train

ATOL = 1e-5 if sys.maxsize > 1 << 32 else 3e-5
D = 24
LABELS = ("glass", "paper", "metal", "cork")


class Pictures:
    """A world of examples, of which a cache holds some. Row = frame id - 1000, unless they are shuffled."""

    def __init__(self, count: int = 3000, dtype: str = "uint8") -> None:
        rng = np.random.default_rng(0)
        self.labels = rng.integers(0, 3, count)
        centres = rng.standard_normal((len(LABELS), D)) * 12
        values = centres[self.labels] + rng.standard_normal((count, D)) * 20 + 128
        self.raw = np.clip(np.rint(values), 0, 255).astype(dtype)
        self.splits = np.where(np.arange(count) % 8 == 7, VAL, TRAIN).astype(np.uint8)
        self.reads = 0

    def cache(self, rows: Any, departed: Any = ()) -> "Counting":
        """Those rows, in that order, with the labels that they have now; labels nobody has are not named."""
        used, targets = np.unique(self.labels[rows], return_inverse=True)
        names = tuple(LABELS[k] for k in used)
        ids = np.asarray(rows, np.uint64) + np.uint64(1000)
        found = Counting(self.raw[rows], targets, names, self.splits[rows], backbone_id="b")
        found.frame_ids = ids
        found.depart(self.raw[list(departed)], np.asarray(departed, np.uint64) + np.uint64(1000))
        return found


class Counting(ArrayExamples):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.rows_read = 0

    def depart(self, raw: Any, frame_ids: Any) -> None:
        self._bottlenecks = np.concatenate([self._bottlenecks, raw])
        self.departed = frame_ids

    def read(self, rows: Any, out: Any) -> Any:
        self.rows_read += len(rows)
        return super().read(rows, out)


def followed(statistics: Statistics, source: Counting) -> Moments:
    rows = np.flatnonzero(source.splits == TRAIN)
    return statistics.follow(source, rows, source.labels, source.targets, Watch())


def stored(statistics: Statistics) -> Statistics:
    with tempfile.TemporaryDirectory() as folder:
        statistics.save(Path(folder) / "sums")
        loaded = Statistics.load(Path(folder) / "sums")
    assert loaded is not None
    return loaded


def assert_same(moments: Moments, expected: Moments) -> None:
    """To 1e-5 of the variance: what is summed in another order differs by rounding; more so on i386, whose BLAS is the
    reference one (1.2e-5 was seen)."""
    assert moments.counts.tolist() == expected.counts.tolist()
    for ours, its in zip(moments.standardisation(), expected.standardisation(), strict=True):
        np.testing.assert_allclose(ours, its, rtol=1e-5)
    standardisation = expected.standardisation()
    np.testing.assert_allclose(moments.means(standardisation), expected.means(standardisation), atol=1e-5)
    np.testing.assert_allclose(moments.scatter(standardisation), expected.scatter(standardisation), atol=ATOL)


def fresh(source: Counting) -> Moments:
    return followed(Statistics("b", D), source)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_sums_that_follow_a_cache_agree_with_sums_from_the_start(data: Any) -> None:
    pictures = Pictures(1200)
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 30)))
    rows = np.arange(600)
    statistics = Statistics("b", D)
    followed(statistics, pictures.cache(rows))
    for _ in range(3):
        for change in data.draw(st.lists(st.sampled_from(["add", "relabel", "resplit", "shuffle", "store", "cork"]))):
            if change == "add":
                rows = np.append(rows, rng.choice(np.setdiff1d(np.arange(1200), rows), 15, replace=False))
            elif change == "relabel":
                pictures.labels[rng.choice(rows, 9, replace=False)] = rng.integers(0, 3)
            elif change == "resplit":
                pictures.splits[rng.choice(rows, 9, replace=False)] = rng.choice([TRAIN, VAL])
            elif change == "shuffle":
                rows = rng.permutation(rows)
            elif change == "cork":  # a class that comes, and goes again
                pictures.labels[rows[:5]] = 3 if pictures.labels[rows[0]] != 3 else 0
            else:
                statistics = stored(statistics)
        source = pictures.cache(rows)
        assert_same(followed(statistics, source), fresh(source))


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_only_what_has_changed_is_read(dtype: str) -> None:
    pictures = Pictures(dtype=dtype)
    statistics = Statistics("b", D)
    followed(statistics, pictures.cache(np.arange(2000)))
    pictures.labels[:3] = 3 - pictures.labels[:3]
    source = pictures.cache(np.arange(2010))
    moments = followed(statistics, source)
    assert source.rows_read == 3 + 9  # ten came, one of them to validate with
    assert_same(moments, fresh(source))


def test_examples_that_are_gone_for_good_cannot_be_followed_and_all_are_summed_again() -> None:
    pictures = Pictures()
    statistics = Statistics("b", D)
    followed(statistics, pictures.cache(np.arange(2000)))
    source = pictures.cache(np.arange(1, 2000))
    assert_same(followed(statistics, source), fresh(source))
    assert source.rows_read > 2 * 1700


def test_examples_that_departed_but_can_be_read_are_followed() -> None:
    pictures = Pictures()
    statistics = Statistics("b", D)
    followed(statistics, pictures.cache(np.arange(2000)))
    source = pictures.cache(np.arange(5, 2000), departed=np.arange(9))
    moments = followed(statistics, source)
    assert source.rows_read == 5
    assert_same(moments, fresh(source))


def test_damaged_products_cost_a_reading_of_all_examples_and_nothing_else(tmp_path: Path, caplog: Any) -> None:
    pictures = Pictures()
    statistics = Statistics("b", D)
    followed(statistics, pictures.cache(np.arange(2000)))
    statistics.save(tmp_path / "sums")
    stored = bytearray((tmp_path / "sums").read_bytes())
    stored[-9] ^= 1
    (tmp_path / "sums").write_bytes(stored)
    loaded = Statistics.load(tmp_path / "sums")
    assert loaded is not None
    for count in (2000, 2010):
        source = pictures.cache(np.arange(count))
        assert_same(followed(loaded, source), fresh(source))
    assert "damaged" in caplog.text
    assert source.rows_read < 1.1 * 2000  # after the first time they are followed again


def test_what_was_interrupted_is_not_built_on() -> None:
    pictures = Pictures()
    statistics = Statistics("b", D)
    followed(statistics, pictures.cache(np.arange(2000)))
    source = pictures.cache(np.arange(2500))
    rows = np.flatnonzero(source.splits == TRAIN)
    with pytest.raises(TrainingError, match="stopped"):
        statistics.follow(source, rows, source.labels, source.targets, Watch(should_stop=lambda: True))
    assert_same(followed(statistics, source), fresh(source))


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    pictures = Pictures()
    source = pictures.cache(np.arange(2000))
    statistics = Statistics("b", D)
    followed(statistics, source)
    statistics.chose(Recipe("lda", shrinkage=3.0), 0.9)
    assert statistics.is_worth_storing
    statistics.save(tmp_path / "sums")
    loaded = Statistics.load(tmp_path / "sums")
    assert loaded is not None
    assert not loaded.is_worth_storing
    assert loaded.chosen == statistics.chosen
    assert loaded.fits(source)
    assert_same(followed(loaded, source), followed(statistics, source))
    assert Statistics.load(tmp_path / "none") is None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    statistics = Statistics("b", D)
    followed(statistics, Pictures(200).cache(np.arange(200)))
    statistics.save(tmp_path / "sums")
    (tmp_path / "sums").write_bytes((tmp_path / "sums").read_bytes()[:-1])
    with pytest.raises(StateError, match="sums"):
        Statistics.load(tmp_path / "sums")


def test_statistics_of_another_backbone_are_let_be() -> None:
    pictures = Pictures()
    statistics = Statistics("another", D)
    assert train(pictures.cache(np.arange(2000)), statistics=statistics).candidates
    assert not len(statistics)
    assert not train(pictures.cache(np.arange(2000)), replace(Settings(), solver="sgd", steps=5)).candidates
