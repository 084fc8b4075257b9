"""How long the last layer takes: examples from a cache on flash, steps of training, validations, epochs.

The bottlenecks are random bytes, as many a picture as in the study. What is computed with them is what a
training does (cache.CachedExamples, examples.Shuffled, descent.descend); its time does not depend on the values.
"""

import contextlib
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.cache import Cache, CachedExamples, Layout
from agent.errors import StateError, TrainingError
from agent.learning.solving.head import Targets
from agent.learning.solving.moments import Standardisation
from agent.learning.solving.solvers import Adam, SoftmaxStep
from agent.learning.training.descent import Descent, descend
from agent.learning.training.examples import Rows
from agent.learning.training.progress import Watch
from agent.learning.training.settings import STUDY
from agent.learning.training.trainingset import TrainingSet
from agent.learning.training.validation import Judge
from agent.measuring import study
from agent.measuring.measurement import (
    Condition,
    Measurement,
    Projection,
    Samples,
    extrapolated_epoch,
    repeated,
    summarised,
)
from agent.records import Example

IMAGES = study.CLASSES[0] * study.IMAGES_A_CLASS  # of the epoch that is measured as a whole

LAYOUT = Layout.of("0" * 32, study.SIZE, "uint8", 6 / 255, 0)  # 0 to 6, as pooled activations are

_GROUP = 1024  # examples that are written together
_ROOM_LEFT_BYTES = 1 << 29  # on flash, beside the cache


@dataclass(frozen=True)
class Effort:
    """How much is done for the sake of a measurement."""

    examples: int  # in the cache, for file access and for extrapolated epochs; the largest batch at least
    validation: int  # examples of a validation
    repeats: dict[int, int]  # batch → steps, and reads from the cache
    validations: int
    part: int  # examples of an epoch that others are extrapolated from
    epochs: int  # at most; 0: none is measured as a whole
    whole_s: float  # one that would take longer is extrapolated


FULL = Effort(10_000, 5000, {100: 200, 1000: 30, 10_000: 5}, 5, 10_000, 3, 30.0)
QUICK = Effort(10_000, 1000, {100: 30, 1000: 5, 10_000: 2}, 2, 5000, 0, 0.0)


class SyntheticCache:
    """A cache of random bottlenecks in a folder; `grow` adds to it. Raises StateError where flash fails."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._cache = Cache(folder, LAYOUT)
        self._folder = folder
        self._rng = np.random.default_rng(seed)

    def grow(self, count: int) -> None:
        """Until it holds so many examples."""
        missing = count - len(self._cache)
        if missing * LAYOUT.record.itemsize > shutil.disk_usage(self._folder).free - _ROOM_LEFT_BYTES:
            raise StateError(f"{self._folder} has no room for {missing} more examples: choose another --state")
        while (known := len(self._cache)) < count:
            rows = self._rng.integers(0, 256, (min(_GROUP, count - known), LAYOUT.size), np.uint8)
            self._cache.append([Example(f"{known + i:016x}", "any", row, 0) for i, row in enumerate(rows)])

    def examples(self) -> CachedExamples:
        return self._cache.examples()

    def close(self) -> None:
        self._cache.close()


@contextlib.contextmanager
def synthetic_cache(folder: Path, seed: int) -> Iterator[SyntheticCache]:
    cache = SyntheticCache(folder, seed)
    try:
        yield cache
    finally:
        cache.close()


def measure_file_access(source: CachedExamples, effort: Effort, seed: int) -> list[Measurement]:
    """Batches of random examples from the cache, as they lie there: uint8."""
    rng = np.random.default_rng(seed)
    found = []
    for batch, times in effort.repeats.items():
        out = np.empty((batch, source.size), source.dtype)
        asked = [rng.permutation(source.count)[:batch] for _ in range(times + 1)]
        ms = repeated(partial(_read_next, source, iter(asked), out), "file_access", times)
        conditions: dict[str, Condition] = {"source": "cache", "batch": batch, "of": source.count, "size": source.size}
        found.append(summarised("file_access", ms, batch, conditions))
    return found


def _read_next(source: CachedExamples, asked: Iterator[Rows], out: NDArray[np.uint8]) -> None:
    source.read(next(asked), out)


def measure_steps(effort: Effort, seed: int) -> list[Measurement]:
    """Steps of Adam for 100 classes: uint8 to float32, two products, update. Arithmetic only."""
    rng = np.random.default_rng(seed)
    classes = study.CLASSES[0]
    found = []
    for batch, times in effort.repeats.items():
        raw = rng.integers(0, 256, (batch, LAYOUT.size), np.uint8)
        targets = rng.integers(0, classes, batch, np.int32)
        step = SoftmaxStep(LAYOUT.size, classes, batch, _adam(), 0.0, LAYOUT.scale)
        ms = repeated(partial(step, raw, targets), "training", times)
        found.append(summarised("training", ms, batch, {"batch": batch, "classes": classes, "size": LAYOUT.size}))
    return found


def measure_validations(source: CachedExamples, effort: Effort, seed: int) -> list[Measurement]:
    """Top-1, top-5 and cross-entropy of the first so many examples, kept in memory; for each number of classes."""
    found = []
    for classes in study.CLASSES:
        samples = Samples()
        judge = _judge(source, np.arange(effort.validation, dtype=np.intp), classes, seed, samples)
        weights, bias = np.zeros((source.size, classes), np.float32), np.zeros(classes, np.float32)
        for _ in range(effort.validations + 1):
            judge.scores(weights, bias)
        ms = samples.ms["validation"][1:]
        found.append(summarised("validation", ms, len(judge), {"classes": classes, "size": source.size}))
    return found


def measure_epochs(
    cache: SyntheticCache, validations: list[Measurement], effort: Effort, seed: int
) -> list[Projection]:
    """An epoch for each of the study's numbers of classes, with a validation every 500 batches.

    The first is measured as a whole if it is asked for and does not take too long. `validations`
    are those of `measure_validations`.
    """
    found = []
    source = cache.examples()
    rows = np.arange(min(effort.part, source.count), dtype=np.intp)
    for classes, validation in zip(study.CLASSES, validations, strict=True):
        # As much of it at a time as an epoch of a hundred classes keeps in memory.
        memory_bytes = STUDY.memory_bytes * len(rows) // IMAGES
        samples = _epochs(source, rows, classes, memory_bytes, 1, None, seed)
        images = classes * study.IMAGES_A_CLASS
        found.append(
            extrapolated_epoch(
                samples, len(rows), validation.mean_ms, classes, images, study.BATCH, study.VALIDATE_EVERY
            )
        )
    expected_s = found[0].mean_ms / 1000
    if effort.epochs and expected_s <= effort.whole_s:
        epochs = max(1, min(effort.epochs, int(effort.whole_s / 2 / expected_s)))
        found[0] = _whole_epoch(cache, effort, epochs, seed)
    return found


def _whole_epoch(cache: SyntheticCache, effort: Effort, epochs: int, seed: int) -> Projection:
    cache.grow(effort.validation + IMAGES)
    source, classes = cache.examples(), study.CLASSES[0]
    validation = Samples()
    judge = _judge(source, np.arange(effort.validation, dtype=np.intp), classes, seed, validation)
    rows = np.arange(effort.validation, source.count, dtype=np.intp)
    samples = _epochs(source, rows, classes, STUDY.memory_bytes, epochs, judge, seed)
    whole = summarised("epoch", samples.ms["epoch"], IMAGES)
    parts = {phase: samples.total(phase) / epochs for phase in ("file_access", "training")}
    parts["validation"] = validation.total("validation") / epochs
    std_ms = whole.std_ms if epochs > 1 else None
    return Projection("epoch", classes, IMAGES, whole.mean_ms, std_ms, epochs, False, IMAGES, parts)


def _epochs(
    source: CachedExamples, rows: Rows, classes: int, memory_bytes: int, epochs: int, judge: Judge | None, seed: int
) -> Samples:
    """The phases of so many epochs over `rows`, by the study's setting."""
    samples = Samples()
    watch = Watch(samples, should_stop=lambda: samples.count("epoch") >= epochs)
    examples = TrainingSet(source, rows, _targets(source, classes, seed), classes, memory_bytes, watch)
    as_they_are = Standardisation(np.zeros(source.size, np.float32), np.full(source.size, source.scale, np.float32))
    descent = Descent("adam", _adam(), study.BATCH, sys.maxsize, study.VALIDATE_EVERY, seed)
    with contextlib.suppress(TrainingError):  # that it was stopped, which is how it ends
        descend(examples, as_they_are, descent, judge)
    return samples


def _judge(source: CachedExamples, rows: Rows, classes: int, seed: int, samples: Samples) -> Judge:
    return Judge(source, rows, _targets(source, classes, seed), classes, seed, Watch(samples))


def _targets(source: CachedExamples, classes: int, seed: int) -> Targets:
    return np.random.default_rng(seed).integers(0, classes, source.count, np.int32)


def _adam() -> Adam:
    return Adam(STUDY.learning_rate, STUDY.beta1, STUDY.beta2, STUDY.epsilon)
