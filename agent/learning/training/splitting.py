"""Which rows train and which judge: pure functions of targets and splits."""

import numpy as np
from numpy.typing import NDArray

from agent.learning.solving.head import Targets
from agent.learning.training.examples import HELD_BACK, TRAIN, Rows, class_counts, rows_of


def cut_stratified(targets: Targets, rows: Rows, one_in: int, seed: int) -> tuple[Rows, Rows]:
    """Split `rows` into (most, one in `one_in` of each class), both in their order; a class of fewer gives none."""
    order, place, counts = _dealt(targets, rows, seed)
    # In 64 bits: Debian 12's numpy for i386 divides 16 or more int32 wrongly (1 // 5 is 1).
    aside = place < np.repeat(counts.astype(np.int64) // one_in, counts)
    return np.sort(order[~aside]), np.sort(order[aside])


def folds(targets: Targets, rows: Rows, count: int, seed: int) -> list[tuple[Rows, Rows]]:
    """Split `rows` so many times into (most, some of each class): each is once among the latter.

    But not those that are the only one of their class. What has no row to put aside is left out.
    """
    order, place, counts = _dealt(targets, rows, seed)
    alone = np.repeat(counts == 1, counts)
    splits = [(place % count == fold) & ~alone for fold in range(count)]
    return [(np.sort(order[~aside]), np.sort(order[aside])) for aside in splits if aside.any()]


def _dealt(targets: Targets, rows: Rows, seed: int) -> tuple[Rows, NDArray[np.intp], NDArray[np.intp]]:
    """The rows class by class, at random within each; the place of each in its class; and the sizes of the classes."""
    shuffled = np.random.default_rng(seed).permutation(rows)
    order = shuffled[np.argsort(targets[shuffled], kind="stable")]
    counts = np.bincount(targets[order])
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order, place, counts


def lent(targets: Targets, splits: NDArray[np.uint8], fixed: NDArray[np.bool_], least: int = 5) -> NDArray[np.uint8]:
    """`splits` [N], but classes with fewer than `least` train examples train on those of val and test too.

    A split by a hash may well leave none of a few examples to train on. Those that are `fixed` [N], because
    somebody said where they belong, stay, and so do those that are held back.
    """
    counts = class_counts(targets, rows_of(splits, TRAIN), int(targets.max(initial=-1)) + 1)
    return np.where((counts[targets] < least) & ~fixed & (splits != HELD_BACK), TRAIN, splits).astype(np.uint8)
