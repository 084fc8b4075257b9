"""A sweep: the settings of the study, or any others, trained side by side in one pass over the examples of a cache."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from agent.cache import Cache
from agent.errors import ConfigError, StateError
from agent.learning.solving.head import Targets
from agent.learning.solving.solvers import SGD, Adam, Solver
from agent.learning.training.examples import TRAIN, VAL, Batch, Examples, Rows, in_memory, rows_of
from agent.learning.training.progress import Watch
from agent.learning.training.settings import STUDY
from agent.learning.training.train import trained_classes
from agent.learning.training.trainingset import TrainingSet
from agent.learning.training.validation import Judge, Scores
from agent.reporting.timing import Timer, Timings
from trainer.sweeping.heads import Features, HeadsSideBySide

MEMORY_BYTES = 1 << 30  # of bottlenecks; more are streamed


@dataclass(frozen=True)
class Setting:
    solver: Literal["sgd", "adam"]
    learning_rate: float
    epsilon: float | None = None  # of adam

    def __str__(self) -> str:
        epsilon = f", epsilon {self.epsilon:g}" if self.epsilon not in (None, STUDY.epsilon) else ""
        return f"{self.solver.upper() if self.solver == 'sgd' else 'Adam'} {self.learning_rate:g}{epsilon}"

    def made(self) -> Solver:
        if self.solver == "sgd":
            return SGD(self.learning_rate)
        assert self.epsilon is not None
        return Adam(self.learning_rate, STUDY.beta1, STUDY.beta2, self.epsilon)

    def as_words(self) -> str:
        """What `lastlayer retrain` takes for it."""
        epsilon = "" if self.epsilon is None else f" --epsilon {self.epsilon:g}"
        return f"--solver {self.solver} --learning-rate {self.learning_rate:g}{epsilon}"


def parsed(text: str) -> Setting:
    """Of words such as sgd:0.1, adam:0.01 (epsilon as in the study) or adam:0.001:1e-8. Raises ConfigError."""
    solver, *numbers = text.split(":")
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        values = []
    fits = 1 <= len(values) <= (2 if solver == "adam" else 1) and all(0 < value < float("inf") for value in values)
    if solver == "sgd" and fits:
        return Setting("sgd", values[0])
    if solver == "adam" and fits:
        return Setting("adam", values[0], values[1] if len(values) > 1 else STUDY.epsilon)
    raise ConfigError(f"{text!r} is no setting: sgd:RATE, adam:RATE or adam:RATE:EPSILON, such as adam:0.01")


GRID = tuple(
    parsed(f"{solver}:{rate}") for solver in ("sgd", "adam") for rate in (0.01, 0.05, 0.1)
)  # what the study tried


@dataclass(frozen=True)
class Extent:
    batch: int = STUDY.batch
    steps: int = STUDY.steps
    validate_every: int = STUDY.validate_every
    seed: int = 0


@dataclass(frozen=True)
class Point:
    """Where a head was after so many steps."""

    step: int
    loss: float  # cross-entropy of the batches since the point before
    train: Scores  # on some of the training examples, as many as of validation, by the head as it is now
    val: Scores


@dataclass(frozen=True)
class Curve:
    setting: Setting
    points: tuple[Point, ...]
    diverged: bool

    def as_dict(self) -> dict[str, Any]:
        points = [
            {"step": p.step, "loss": p.loss}
            | {f"{name}_{key}": value for name in ("train", "val") for key, value in getattr(p, name)._asdict().items()}
            for p in self.points
        ]
        return {"setting": asdict(self.setting), "name": str(self.setting), "diverged": self.diverged, "points": points}


def cache_of(folder: Path) -> Path:
    """The cache of a state folder, or the folder itself where that is one. Raises StateError."""
    found = next((path for path in (folder / "cache", folder) if any(path.glob("*.seg"))), None)
    if found is None:
        raise StateError(f"{folder} holds no examples: give a state folder with a cache in it")
    return found


def sweep(
    cache: Path,
    settings: Sequence[Setting],
    extent: Extent,
    timings: Timer,
    on_step: Callable[[int], object],
    threads: int | None = None,
) -> list[Curve]:
    """The curves of all settings, each as if it had been trained alone.

    Raises TrainingError where there are not two labels to train on, StateError where the cache cannot be read or
    holds no validation examples.
    """
    with Cache.read(cache) as opened, threadpool_limits(1):  # the settings are shared out instead
        watch = Watch(timings)
        source = in_memory(opened.examples(), MEMORY_BYTES, watch.phases)
        train_rows, val_rows = (rows_of(source.splits, split) for split in (TRAIN, VAL))
        labels, targets = trained_classes(source, train_rows)
        if not len(val_rows):
            raise StateError(f"{cache} holds no validation examples: nothing says which setting is best")
        examples = TrainingSet(source, train_rows, targets, len(labels), MEMORY_BYTES, watch)
        judges = _judges(source, train_rows, val_rows, targets, len(labels), extent.seed, watch)
        shares = shared_out(settings, min(threads or len(os.sched_getaffinity(0)), len(settings)))
        found = _Sweep(examples, shares, extent, judges).run(on_step)
    return sorted(found, key=lambda curve: settings.index(curve.setting))


def _judges(
    source: Examples, train_rows: Rows, val_rows: Rows, targets: Targets, classes: int, seed: int, watch: Watch
) -> tuple[Judge, Judge]:
    val = Judge(source, val_rows, targets, classes, seed, watch)
    some = np.random.default_rng(seed).permutation(train_rows)[: len(val)]
    return Judge(source, np.sort(some), targets, classes, seed, watch), val


def spread_out(
    caches: Mapping[Path, Path],
    settings: Sequence[Setting],
    extent: Extent,
    timings: Timings,
    workers: int,
    scheduler: str | None,
) -> dict[Path, list[Curve]]:
    """The curves of each state, as `sweep` gives them; each process reads the examples of its share once.

    Raises ServiceError, and what sweep raises.
    """
    from trainer.cluster import connected, in_our_words  # Dask takes a second to import

    with connected(workers, scheduler) as client, in_our_words():
        threads = sum(client.nthreads().values())
        shares = shared_out(settings, min(len(settings), max(1, threads // len(caches))))
        tasks = {
            state: [client.submit(_swept, cache.absolute(), share, extent, pure=False) for share in shares]
            for state, cache in caches.items()
        }
        found = {}
        for state, futures in tasks.items():
            curves = []
            for part, phases in client.gather(futures):
                timings.merge(phases)
                curves += part
            found[state] = sorted(curves, key=lambda curve: list(settings).index(curve.setting))
    return found


def _swept(cache: Path, settings: Sequence[Setting], extent: Extent) -> tuple[list[Curve], dict[str, Any]]:
    timings = Timings(node="worker", runtime="numpy", role="trainer")
    curves = sweep(cache, settings, extent, timings, int, threads=1)
    return curves, timings.drain()


def shared_out(settings: Sequence[Setting], count: int) -> list[list[Setting]]:
    """As many shares; Adam costs more than SGD, so each gets as many of either as the next."""
    ordered = sorted(settings, key=lambda setting: setting.solver)
    return [ordered[number::count] for number in range(count)]


class _Sweep:
    def __init__(
        self, examples: TrainingSet, shares: list[list[Setting]], extent: Extent, judges: tuple[Judge, Judge]
    ) -> None:
        source = examples.source
        size = source.size
        self._standardisation = examples.as_they_are
        self._examples, self._effort, self._judges = examples, extent, judges
        self._batch = min(extent.batch, len(examples.rows))
        self._settings = [setting for share in shares for setting in share]
        self._heads = [
            HeadsSideBySide(size, examples.classes, self._batch, [setting.made() for setting in share])
            for share in shares
        ]
        self._points: list[list[Point]] = [[] for _ in self._settings]
        self._losses = np.zeros(len(self._settings))  # since the last point

    def run(self, on_step: Callable[[int], object]) -> list[Curve]:
        phases, extent = self._examples.watch.phases, self._effort
        since = 0
        with ThreadPoolExecutor(len(self._heads), thread_name_prefix="heads") as pool:
            for number, (features, targets) in enumerate(self._batches(), 1):
                with phases.phase("training", images=len(targets)):
                    steps = [pool.submit(heads.step, features, targets) for heads in self._heads]
                    self._losses += [loss for step in steps for loss, _ in step.result()]
                since += 1
                if number % extent.validate_every == 0 or number == extent.steps:
                    self._judge(number, since)
                    since = 0
                on_step(1)
                if number == extent.steps:
                    break
        diverged = [gone for heads in self._heads for gone in heads.diverged]
        parts = zip(self._settings, self._points, diverged, strict=True)
        return [Curve(setting, tuple(points), gone) for setting, points, gone in parts]

    def _batches(self) -> Iterator[tuple[Any, Targets]]:
        examples = self._examples
        features = Features(examples.source.size, self._batch, self._standardisation)
        batch: Batch
        for batch in examples.shuffled.batches(self._batch, self._effort.seed):
            yield features.of(batch.raw), examples.targets[batch.rows]

    def _judge(self, step: int, since: int) -> None:
        numbered = [(heads, number) for heads in self._heads for number in range(len(heads.diverged))]
        for place, (heads, number) in enumerate(numbered):
            if heads.diverged[number]:
                continue
            weights, bias = self._standardisation.folded(*heads.parameters(number))
            train, val = (judge.scores(weights, bias) for judge in self._judges)
            self._points[place].append(Point(step, float(self._losses[place] / since), train, val))
        self._losses[:] = 0
