"""Where training takes its examples from, a bounded number at a time."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from agent.errors import StateError
from agent.learning.solving.head import Targets
from agent.learning.training.progress import Phases
from agent.records import SPLITS

Rows = NDArray[np.signedinteger[Any]]  # of all examples they are int32: there may be a million

TRAIN, VAL = SPLITS.index("train"), SPLITS.index("val")
HELD_BACK = len(SPLITS)  # of no split: neither trained on nor judged by

# Consecutive rows are read together even when the order is random: flash likes long reads.
RUN_ROWS = 256
BLOCK_ROWS = 1024
COUNTED_ROWS = 1 << 16


class Examples(Protocol):
    """N examples of K labels; their bottlenecks are read on demand, in the dtype in which they are stored."""

    @property
    def count(self) -> int: ...  # N
    @property
    def size(self) -> int: ...  # D
    @property
    def dtype(self) -> np.dtype[Any]: ...  # uint8, int8, float16 or float32
    @property
    def labels(self) -> tuple[str, ...]: ...  # K
    @property
    def targets(self) -> Targets: ...  # [N] class indices into labels
    @property
    def splits(self) -> NDArray[np.uint8]: ...  # [N] indices into records.SPLITS, or HELD_BACK
    @property
    def scale(self) -> float: ...  # a stored value q stands for scale * (q - zero_point)
    @property
    def zero_point(self) -> int: ...
    @property
    def backbone_id(self) -> str: ...

    def read(self, rows: Rows, out: NDArray[Any]) -> NDArray[Any]:
        """Fill and return `out` [B, D] with the bottlenecks of `rows` [B], in that order."""


class Identified(Examples, Protocol):
    """Examples that can be told apart, so that it can be said which of them are new, and which are gone."""

    @property
    def frame_ids(self) -> NDArray[np.uint64]: ...  # [N]; may be read for the purpose: ask once
    @property
    def departed(self) -> NDArray[np.uint64]: ...  # [M] that are none any more, but can be read as rows N, N + 1, ...

    def forget_frame_ids(self) -> None:
        """Have them in memory no longer than somebody has who asks for them."""


def is_identified(source: Examples) -> TypeGuard[Identified]:
    return hasattr(source, "departed")


class ArrayExamples:
    """Examples in memory.

    Raises ValueError where targets or splits are not one a bottleneck, or a target is no index into labels.
    """

    def __init__(
        self,
        bottlenecks: NDArray[Any],  # [N, D]
        targets: NDArray[Any],  # [N]
        labels: tuple[str, ...],
        splits: NDArray[Any] | None = None,  # [N]; everything is train if it is left out
        scale: float = 1.0,
        zero_point: int = 0,
        backbone_id: str = "",
    ) -> None:
        self.count, self.size = bottlenecks.shape
        self.dtype = bottlenecks.dtype
        self.labels = labels
        self.targets: Targets = np.asarray(targets, np.int32)
        self.splits = np.full(self.count, TRAIN, np.uint8) if splits is None else np.asarray(splits, np.uint8)
        self.scale = scale
        self.zero_point = zero_point
        self.backbone_id = backbone_id
        self.frame_ids = np.arange(self.count, dtype=np.uint64)  # [N] until somebody knows better
        self.departed = np.empty(0, np.uint64)
        self._bottlenecks = bottlenecks
        if self.targets.shape != (self.count,) or self.splits.shape != (self.count,):
            raise ValueError(f"{self.count} bottlenecks, but targets {self.targets.shape}, splits {self.splits.shape}")
        if self.count and not 0 <= self.targets.min() <= self.targets.max() < len(labels):
            raise ValueError(f"targets reach from {self.targets.min()} to {self.targets.max()}; labels: {len(labels)}")

    def read(self, rows: Rows, out: NDArray[Any]) -> NDArray[Any]:
        return self._bottlenecks.take(rows, axis=0, out=out, mode="clip")  # "raise" would copy once more

    def forget_frame_ids(self) -> None:
        pass  # they are given, and few


class Batch(NamedTuple):
    raw: NDArray[Any]  # [B, D], valid until the next batch is asked for
    rows: Rows  # [B] which examples these are
    ends_epoch: bool = False


def read(source: Examples, rows: Rows, phases: Phases, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """The bottlenecks [B, D] of `rows`, all at once; in `out`, if it is given."""
    with phases.phase("file_access", images=len(rows)):
        raw = source.read(rows, np.empty((len(rows), source.size), source.dtype) if out is None else out)
    if raw.dtype.kind == "f" and not np.isfinite(raw).all():
        bad = rows[~np.isfinite(raw).all(axis=1)]
        raise StateError(f"bottlenecks in the cache are not finite: examples {bad[:10].tolist()}. Start a new cache")
    return raw


def blocks(source: Examples, rows: Rows, phases: Phases) -> Iterator[Batch]:
    """All of `rows` once, in their order, in blocks."""
    buffer = np.empty((min(BLOCK_ROWS, len(rows)), source.size), source.dtype)
    for first in range(0, len(rows), BLOCK_ROWS):
        part = rows[first : first + BLOCK_ROWS]
        yield Batch(read(source, part, phases, buffer[: len(part)]), part)


def in_memory(source: Examples, memory_bytes: int, phases: Phases) -> Examples:
    """The source itself, or all of it read at once where it takes no more than `memory_bytes`."""
    if isinstance(source, ArrayExamples) or source.count * source.size * source.dtype.itemsize > memory_bytes:
        return source
    raw = read(source, np.arange(source.count, dtype=np.intp), phases)
    quantization = source.scale, source.zero_point
    loaded = ArrayExamples(raw, source.targets, source.labels, source.splits, *quantization, source.backbone_id)
    if is_identified(source):
        loaded.frame_ids = source.frame_ids
    return loaded


class Shuffled:
    """Mini-batches without end, in an order that follows from the seed.

    An epoch is cut into batches of one size, at most `batch`. From a source that is not in memory, runs of
    neighbouring rows are read in random order into a pool of half of `memory_bytes`, and drawn from the pool at random.
    """

    def __init__(self, source: Examples, rows: Rows, memory_bytes: int, phases: Phases) -> None:
        self._source = source
        self._rows = rows
        self._phases = phases
        run_bytes = source.size * source.dtype.itemsize * RUN_ROWS
        self._runs_a_pool = max(1, memory_bytes // 2 // run_bytes)

    def batches(self, batch: int, seed: int, skip: int = 0) -> Iterator[Batch]:
        """Without the first `skip` of them, which are not read either."""
        rng = np.random.default_rng(seed)
        buffer = np.empty((batch, self._source.size), self._source.dtype)
        while True:
            pools = self._drawn_pools(rng)
            for number, runs in enumerate(pools):
                rows = self._rows_of(runs)
                parts = np.array_split(rng.permutation(len(rows)), -(-len(rows) // batch))
                if skip >= len(parts):
                    skip -= len(parts)
                    continue
                pool, members = self._pool(rows)
                for part_number, part in enumerate(parts[skip:], start=skip):
                    with self._phases.phase("file_access", images=len(part)):
                        raw = pool.read(members[part], buffer[: len(part)])
                    last = number == len(pools) - 1 and part_number == len(parts) - 1
                    yield Batch(raw, rows[part], last)
                skip = 0
                del pool  # before the next one is read: there is room for one

    def _drawn_pools(self, rng: np.random.Generator) -> list[NDArray[np.intp]]:
        """Runs of rows, by their numbers; from memory all rows are one pool."""
        if isinstance(self._source, ArrayExamples):
            return [np.empty(0, np.intp)]
        runs = rng.permutation(-(-len(self._rows) // RUN_ROWS))
        return [runs[first : first + self._runs_a_pool] for first in range(0, len(runs), self._runs_a_pool)]

    def _rows_of(self, runs: NDArray[np.intp]) -> Rows:
        if isinstance(self._source, ArrayExamples):
            return self._rows
        return np.concatenate([self._rows[run * RUN_ROWS : (run + 1) * RUN_ROWS] for run in runs.tolist()])

    def _pool(self, rows: Rows) -> tuple[Examples, Rows]:
        """Examples in memory of which these rows are to be drawn, and which of its examples they are."""
        source = self._source
        if isinstance(source, ArrayExamples):
            return source, rows
        raw = read(source, rows, self._phases)
        return ArrayExamples(raw, source.targets[rows], source.labels), np.arange(len(rows), dtype=np.intp)


def rows_of(splits: NDArray[np.uint8], split: int) -> Rows:
    """The examples of one split."""
    return np.flatnonzero(splits == split).astype(np.int32)


def class_counts(targets: Targets, rows: Rows, classes: int) -> NDArray[np.int64]:
    """How many of the rows are of each class, [classes]. In parts: numpy counts a copy that is four times as wide."""
    counts = np.zeros(classes, np.int64)
    for first in range(0, len(rows), COUNTED_ROWS):
        counts += np.bincount(targets[rows[first : first + COUNTED_ROWS]], minlength=classes)
    return counts
