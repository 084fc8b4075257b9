"""Ten changes on a large cache: what a retraining with kept statistics costs, beside one from the start.

    python -m benchmarks.update
    python -m benchmarks.update --examples 1000000 --sizes 2048

Synthetic uint8 bottlenecks in a file, one BLAS thread; medians of wall time in ms. `load` reads the
statistics from their file. The others are a whole training after that: ten new examples, ten with another label, ten
deleted ones, a new class of ten; `newton` ten new ones where Adam is what was chosen; `worked in` as many new ones as
are still worked into the solution, `sums` one more, so that it is solved anew; then `store` writes the statistics.
`pass` reads all examples and solves the same form, `whole` compares all solvers.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.learning.training import renewal
from agent.learning.training.automatic import Choice
from agent.learning.training.examples import TRAIN, VAL, rows_of
from agent.learning.training.progress import Watch
from agent.learning.training.recipe import Recipe
from agent.learning.training.renewal import SOLVE_AGAIN_ONE_IN
from agent.learning.training.sums import Statistics
from agent.learning.training.training import train
from agent.learning.training.trainingset import TrainingSet
from benchmarks.rows import at_most, finish

CHANGED = 10
GOAL_MS = 50.0  # with loading
UPDATES = {
    "new": "ten new labels",
    "other": "ten other labels",
    "deleted": "ten deleted",
    "new class": "a new class of ten",
    "newton": "ten new labels after Adam",
}


class FileExamples:
    """The first `count` rows of a file of bottlenecks, as flash would hold them."""

    def __init__(self, path: Path, targets: NDArray[np.int32], count: int, size: int) -> None:
        self.count, self.size, self.dtype = count, size, np.dtype(np.uint8)
        self.labels = tuple(map(str, range(1 + int(targets[:count].max()))))
        self.targets = targets[:count]
        self.splits = np.where(np.arange(count) % 10 == 9, VAL, TRAIN).astype(np.uint8)
        self.scale, self.zero_point, self.backbone_id = 0.02, 0, "synthetic"
        self.frame_ids = np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # in no order
        self.departed = np.empty(0, np.uint64)
        self._file = path.open("rb", buffering=0)

    def shortened(self, count: int) -> "FileExamples":
        """The last so many were deleted, and can still be read."""
        self.departed = self.frame_ids[self.count - count :]
        self.count -= count
        self.targets, self.splits = self.targets[: self.count], self.splits[: self.count]
        self.frame_ids = self.frame_ids[: self.count]
        return self

    def forget_frame_ids(self) -> None:
        pass

    def read(self, rows: NDArray[np.intp], out: NDArray[Any]) -> NDArray[Any]:
        first, last = int(rows.min()), int(rows.max())
        if last - first < 4 * len(rows):
            block = os.pread(self._file.fileno(), (last - first + 1) * self.size, first * self.size)
            np.take(np.frombuffer(block, np.uint8).reshape(-1, self.size), rows - first, axis=0, out=out, mode="clip")
            return out
        for place, row in enumerate(rows.tolist()):
            out[place] = np.frombuffer(os.pread(self._file.fileno(), self.size, row * self.size), np.uint8)
        return out


def write_bottlenecks(path: Path, count: int, size: int, classes: int) -> NDArray[np.int32]:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, classes, count).astype(np.int32)
    centres = rng.standard_normal((classes, size), np.float32) * 4 + 60
    with path.open("wb") as file:
        for first in range(0, count, 10_000):
            part = centres[targets[first : first + 10_000]]
            part += 30 * rng.standard_normal(part.shape, np.float32)
            file.write(np.clip(part, 0, 255).astype(np.uint8).tobytes())
    return targets


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    result = call()
    return result, (time.perf_counter() - began) * 1000


def update_ms(path: Path, source: FileExamples, expected: str) -> float:
    kept = Statistics.load(path)
    training, ms = timed(lambda: train(source, statistics=kept))
    assert expected in training.reason, training.reason
    return ms


def updates_ms(folder: Path, targets: NDArray[np.int32], count: int, size: int, classes: int) -> dict[str, float]:
    """`targets` are of more examples than the statistics are of, which are `count`."""

    def changed(targets: NDArray[np.int32], more: int = 0) -> FileExamples:
        return FileExamples(folder / "bottlenecks", targets, count + more, size)

    other, new = targets.copy(), targets.copy()
    other[:CHANGED] = (other[:CHANGED] + 1) % classes
    new[count:] = classes
    few = size // SOLVE_AGAIN_ONE_IN
    chosen, adam = folder / "statistics", folder / "adam"
    kept, load = timed(lambda: Statistics.load(chosen))
    return {
        "load": load,
        "new": update_ms(chosen, changed(targets, CHANGED), "kept solution"),
        "other": update_ms(chosen, changed(other), "kept solution"),
        "deleted": update_ms(chosen, changed(targets).shortened(CHANGED), "kept solution"),
        "new class": update_ms(chosen, changed(new, CHANGED), "kept solution"),
        "newton": update_ms(adam, changed(targets, CHANGED), "Newton"),
        "worked in": update_ms(chosen, changed(targets, few), "kept solution"),
        "sums": update_ms(chosen, changed(targets, 2 * few), "kept sums"),
        "store": timed(lambda: kept.save(folder / "scratch"))[1],
    }


def whole_ms(folder: Path, targets: NDArray[np.int32], count: int, size: int) -> dict[str, float]:
    """Leaves statistics of the first examples in files: as if a closed form, and as if Adam had been chosen."""
    source = FileExamples(folder / "bottlenecks", targets, count, size)
    kept = Statistics(source.backbone_id, size)
    training, whole = timed(lambda: train(source, statistics=kept))
    print(f"{count:,} x {size:,}: {training.reason}", file=sys.stderr)
    examples = training_set(source, kept)
    weights, bias = training.head.weights, training.head.bias
    for name, recipe in (("adam", Recipe("adam", steps=1000)), ("statistics", Recipe("lda", shrinkage=1.0))):
        renewal.keep(examples, source.labels, Choice(recipe, weights, bias, 1.0, ""), kept)
        kept.save(folder / name)

    def one_pass() -> None:
        again = Statistics(source.backbone_id, size)
        renewal.keep(training_set(source, again), source.labels, Choice(recipe, weights, bias, 1.0, ""), again)

    return {"pass": timed(one_pass)[1], "whole": whole}


def training_set(source: FileExamples, kept: Statistics) -> TrainingSet:
    rows, watch = rows_of(source.splits, TRAIN), Watch()
    follow = partial(kept.follow, source, rows, source.labels, source.targets, watch)
    return TrainingSet(source, rows, source.targets, len(source.labels), 1 << 26, watch, follow)


def measure(options: argparse.Namespace, size: int, folder: Path) -> dict[str, float]:
    count = options.examples
    targets = write_bottlenecks(folder / "bottlenecks", count + size, size, options.classes)
    whole = whole_ms(folder, targets, count, size)
    found = [updates_ms(folder, targets, count, size, options.classes) for _ in range(options.times)]
    medians = {name: statistics.median(run[name] for run in found) for name in found[0]}
    return medians | whole | {"MB": (folder / "statistics").stat().st_size / 1e6}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100_000)
    parser.add_argument("--sizes", nargs="+", type=int, default=[1024, 2048])
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # BLAS looks at this when it is loaded, which it is by now
        again = [sys.executable, "-m", "benchmarks.update", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    rows = []
    for number, size in enumerate(options.sizes):
        with tempfile.TemporaryDirectory() as folder:
            found = measure(options, size, Path(folder))
        if not number:
            print(f"{'examples':>9}{'D':>6}" + "".join(f"{name:>10}" for name in found))
        print(f"{options.examples:>9}{size:>6}" + "".join(f"{ms:>10.1f}" for ms in found.values()), flush=True)

        for name, what in UPDATES.items():
            figures = f"{found[name]:.0f} ms", f"all anew: {found['whole'] / 1000:.1f} s"
            text = f"{what}, {options.examples:,} x {size:,}"
            rows.append(at_most(text, found["load"] + found[name], GOAL_MS, *figures, unit=" ms"))
    return finish(rows)


if __name__ == "__main__":
    sys.exit(main())
