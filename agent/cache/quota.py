"""Which examples go when the cache is full."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.cache.part import Part


def victims(parts: list[Part], count: int) -> list[tuple[Part, NDArray[np.intp]]]:
    """The rows of so many examples: the oldest of the largest class, until the next one is as large.

    So classes are levelled from above, and none goes below what another one keeps.
    """
    usable = [np.flatnonzero(part.usable()) for part in parts]
    if not parts or not sum(map(len, usable)):
        return []

    def column(name: str) -> NDArray[Any]:
        return np.concatenate([part.column(name)[rows] for part, rows in zip(parts, usable, strict=True)])

    labels, came = column("label"), column("received_ms")
    number = np.repeat(np.arange(len(parts), dtype=np.int32), [len(rows) for rows in usable])
    rows = np.concatenate(usable)
    surplus = surpluses(np.bincount(labels), count)
    chosen = np.zeros(len(rows), np.bool_)
    for label in np.flatnonzero(surplus).tolist():
        of_label = np.flatnonzero(labels == label)
        oldest = np.argsort(came[of_label], kind="stable")[: surplus[label]]
        chosen[of_label[oldest]] = True
    found = [(part, rows[chosen & (number == at)]) for at, part in enumerate(parts)]
    return [(part, rows) for part, rows in found if len(rows)]


def surpluses(sizes: NDArray[Any], count: int) -> NDArray[np.int64]:
    """How many each class [K] gives up, `count` in all, where the largest always gives next."""
    sizes = sizes.astype(np.int64)
    count = min(count, int(sizes.sum()))
    low, high = 0, int(sizes.max(initial=0))  # the level: nothing above it stays
    while low < high:
        level = (low + high + 1) // 2
        if int(np.maximum(sizes - level, 0).sum()) >= count:
            low = level
        else:
            high = level - 1
    given: NDArray[np.int64] = np.maximum(sizes - low, 0)
    too_many = int(given.sum()) - count  # at the last level not all have to give one more
    given[np.flatnonzero(given)[:too_many]] -= 1
    return given
