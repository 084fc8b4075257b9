from contextlib import closing

import numpy as np
import pytest

from agent.errors import DatasetError
from trainer.making.batches import Batches, Prefetched, validation_top1
from trainer.making.corpus import Corpus
from trainer.making.views import view_boxes


def corpus(count: int, validation: int = 0) -> Corpus:
    """Gray pictures of as many brightnesses, alternately of two classes; the last ones are for validation."""
    pictures = [np.full((8, 8, 3), 4 * number, dtype=np.uint8) for number in range(count)]
    kept = np.arange(count) >= count - validation
    return Corpus(pictures, np.arange(count) % 2, ("even", "odd"), kept, 0, "digest")


def batches(of: Corpus, batch: int, seed: int = 0) -> Batches:
    return Batches(of, view_boxes(of.pictures, 2, seed), None, 8, batch, seed)


def test_a_step_is_a_function_of_its_number_and_the_seed() -> None:
    of = corpus(20)
    images, targets = batches(of, 4)(7)
    assert images.shape == (4, 8, 8, 3)
    assert images.dtype == np.float32
    assert targets["classes"].shape == (4, 2)
    again, _ = batches(of, 4)(7)
    np.testing.assert_array_equal(images, again)
    assert (batches(of, 4)(8)[0] != images).any()
    assert (batches(of, 4, seed=1)(7)[0] != images).any()


def test_every_training_picture_comes_once_an_epoch_and_none_of_validation() -> None:
    of = corpus(20, validation=4)
    walk = batches(of, 4)
    walk.corpus.pictures[:] = [np.full((8, 8, 3), number, np.uint8) for number in range(20)]
    assert walk.steps == 4
    seen = np.concatenate([walk._order(0), walk._order(1)]).reshape(2, 16)
    assert (np.sort(seen, axis=1) == np.arange(16)).all()
    assert (seen[0] != seen[1]).any()


def test_a_corpus_smaller_than_a_batch_fills_it_by_repeating() -> None:
    walk = batches(corpus(3), 8)
    assert walk.steps == 1
    assert len(walk(5)[0]) == 8


def test_a_corpus_of_validation_pictures_alone_is_refused() -> None:
    with pytest.raises(DatasetError, match="nothing to train on"):
        batches(corpus(3, validation=3), 2)


def test_validation_counts_each_picture_once_even_where_the_last_batch_is_not_full() -> None:
    class ByBrightness:
        """Right for the pictures below 32, wrong for the others."""

        def predict_on_batch(self, images: np.ndarray) -> dict[str, np.ndarray]:
            assert len(images) == 4
            number = np.round(images[:, 0, 0, 0] / 4).astype(int)
            return {"classes": np.eye(2)[np.where(number < 8, number % 2, 1 - number % 2)]}

    assert validation_top1(ByBrightness(), corpus(10, validation=5), 8, 4) == pytest.approx(3 / 5)
    assert validation_top1(ByBrightness(), corpus(10), 8, 4) is None


def test_what_is_made_ahead_comes_in_order_and_errors_come_in_their_turn() -> None:
    def make(number: int) -> int:
        if number == 5:
            raise ValueError("five")
        return number * number

    with closing(Prefetched(make, first=2, workers=3)) as ahead:
        assert [ahead.next() for _ in range(3)] == [4, 9, 16]
        with pytest.raises(ValueError, match="five"):
            ahead.next()
        assert ahead.next() == 36
