import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.learning.training.splitting import cut_stratified, folds, lent


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(2, 6), st.integers(0, 3))
def test_a_stratified_cut_takes_its_share_of_each_class(classes: list[int], one_in: int, seed: int) -> None:
    targets = np.array(classes, np.int32)
    rows = np.flatnonzero(np.arange(len(targets)) % 7 != 3)
    kept, aside = cut_stratified(targets, rows, one_in, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, aside])), rows)
    for k in set(classes):
        assert (targets[aside] == k).sum() == (targets[rows] == k).sum() // one_in


def test_small_classes_train_on_what_a_hash_had_put_elsewhere() -> None:
    targets = np.array([0, 0, 1, 1, 1, 2, 2])
    splits = np.array([1, 2, 0, 0, 1, 2, 1], np.uint8)
    fixed = np.array([False] * 6 + [True])
    assert lent(targets, splits, fixed, least=2).tolist() == [0, 0, 0, 0, 1, 0, 1]
    assert len(lent(targets[:0], splits[:0], fixed[:0])) == 0


@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=5), count=st.integers(2, 5), seed=st.integers(0, 99))
def test_in_folds_each_example_is_put_aside_once_and_no_class_is_without_any(
    sizes: list[int], count: int, seed: int
) -> None:
    targets = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    rows = np.arange(len(targets))
    aside = []
    for kept, judging in folds(targets, rows, count, seed):
        assert sorted([*kept, *judging]) == rows.tolist()
        assert set(targets[kept]) == set(targets)
        aside += judging.tolist()
    only = [row for row in rows.tolist() if sizes[targets[row]] == 1]
    assert sorted([*aside, *only]) == rows.tolist()
