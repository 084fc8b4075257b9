from itertools import islice
from typing import Any

import numpy as np
import pytest

from agent.errors import StateError
from agent.learning.training.examples import (
    RUN_ROWS,
    ArrayExamples,
    Examples,
    Shuffled,
    blocks,
    in_memory,
    read,
)
from agent.learning.training.progress import Phases

N = 3 * RUN_ROWS + 17


def numbered(count: int = N) -> ArrayExamples:
    """Each bottleneck holds its own number."""
    numbers = np.arange(count, dtype=np.float32)
    return ArrayExamples(np.stack([numbers, -numbers], axis=1), np.zeros(count), ("a",))


class OnFlash:
    """Examples that are not in memory, and count what is read."""

    def __init__(self, examples: ArrayExamples) -> None:
        self.count, self.size, self.dtype = examples.count, examples.size, examples.dtype
        self.labels, self.targets, self.splits = examples.labels, examples.targets, examples.splits
        self.scale, self.zero_point, self.backbone_id = 0.5, 3, "b"
        self.largest = self.reads = 0
        self._examples = examples

    def read(self, rows: Any, out: Any) -> Any:
        self.largest = max(self.largest, len(rows))
        self.reads += 1
        return self._examples.read(rows, out)


def epoch(shuffled: Shuffled, batch: int, seed: int) -> list[tuple[Any, Any]]:
    found = []
    for raw, rows, ends_epoch in shuffled.batches(batch, seed):
        found.append((raw.copy(), rows.copy()))
        if ends_epoch:
            break
    return found


SOURCES: list[Examples] = [numbered(), OnFlash(numbered())]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("memory_bytes", [1, 2 * RUN_ROWS * 8, 1 << 20])  # a run, two runs, everything
@pytest.mark.parametrize("batch", [1, 100, 2 * N])
def test_an_epoch_gives_every_example_once_with_its_own_bottleneck(
    source: Examples, memory_bytes: int, batch: int
) -> None:
    chosen = np.arange(0, N, 2)
    batches = epoch(Shuffled(source, chosen, memory_bytes, Phases()), batch, seed=1)
    for raw, rows in batches:
        np.testing.assert_array_equal(raw[:, 0], rows)
        assert len(rows) <= batch
    rows = np.concatenate([rows for _, rows in batches])
    assert sorted(rows) == chosen.tolist()
    assert (np.diff(rows) != 2).mean() > 0.9


def test_no_more_is_read_at_once_than_memory_was_given() -> None:
    source = OnFlash(numbered())
    epoch(Shuffled(source, np.arange(N), 4 * RUN_ROWS * 8, Phases()), 100, seed=1)
    assert source.largest == 2 * RUN_ROWS  # half of it: the other half is for what becomes of them


def test_what_fits_into_memory_is_read_once() -> None:
    source = OnFlash(numbered())
    kept = in_memory(source, N * 8, Phases())
    assert (source.reads, kept.scale, kept.zero_point, kept.backbone_id) == (1, 0.5, 3, "b")
    epoch(Shuffled(kept, np.arange(N), N * 8, Phases()), 100, seed=1)
    assert source.reads == 1
    assert in_memory(source, N * 8 - 1, Phases()) is source


def test_the_batches_of_an_epoch_are_of_one_size() -> None:
    sizes = [len(rows) for _, rows in epoch(Shuffled(numbered(601), np.arange(601), 1 << 20, Phases()), 100, seed=1)]
    assert len(sizes) == 7
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("source", SOURCES)
def test_the_order_of_batches_follows_from_the_seed(source: Examples) -> None:
    def order(seed: int) -> list[int]:
        batches = Shuffled(source, np.arange(N), 1, Phases()).batches(64, seed)
        return [row for batch in islice(batches, 30) for row in batch.rows.tolist()]

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_blocks_give_the_rows_that_were_asked_for_in_order() -> None:
    wanted = np.arange(0, N, 3)
    found = list(blocks(numbered(), wanted, Phases()))
    np.testing.assert_array_equal(np.concatenate([raw[:, 0] for raw, _, _ in found]), wanted)
    np.testing.assert_array_equal(np.concatenate([rows for _, rows, _ in found]), wanted)


def test_bottlenecks_that_are_not_finite_are_named() -> None:
    bottlenecks = np.ones((4, 2), np.float16)
    bottlenecks[2, 1] = np.nan
    with pytest.raises(StateError, match=r"not finite: examples \[2\]"):
        read(ArrayExamples(bottlenecks, np.zeros(4), ("a",)), np.arange(4), Phases())


def test_examples_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match="3 bottlenecks"):
        ArrayExamples(np.zeros((3, 2)), np.zeros(2), ("a",))
    with pytest.raises(ValueError, match="labels: 1"):
        ArrayExamples(np.zeros((3, 2)), np.array([0, 1, 0]), ("a",))
