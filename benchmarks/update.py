"""Ten changes on a cache: what a retraining with kept statistics costs, beside one from the start.

    python -m benchmarks.update
    python -m benchmarks.update --cases 1000000x2048 --classes 1000

Synthetic uint8 bottlenecks in a file, one BLAS thread; medians of wall time in ms. `load` reads the statistics from
their file. The others are a whole training after that: ten new examples, ten with another label, ten deleted ones, a
new class of ten; `many` as many new ones as make it worth writing the statistics again, which `store` does. `pass`
reads all examples and solves the same form, `whole` compares all solvers.

Goals, with 100 classes: ten changes of 100,000 examples of 2,048 values within 300 ms, of 10,000 of 512 within 60 ms,
loading included.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read by BLAS when it is loaded

import numpy as np
from numpy.typing import NDArray

from agent.learning.training.examples import TRAIN, VAL, rows_of
from agent.learning.training.progress import Watch
from agent.learning.training.settings import Recipe
from agent.learning.training.sums import STORE_AGAIN_ONE_IN, Statistics
from agent.learning.training.train import train
from agent.learning.training.trainingset import TrainingSet
from benchmarks.rows import Row, at_most, beside, finish

CHANGED = 10
CLASSES = 100
GOALS_MS = {(10_000, 512): 60.0, (100_000, 2048): 300.0}  # of so many classes, with loading
UPDATES = {
    "new": "ten new labels",
    "other": "ten other labels",
    "deleted": "ten deleted",
    "new class": "a new class of ten",
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


def update_ms(path: Path, source: FileExamples) -> float:
    kept = Statistics.load(path)
    training, ms = timed(lambda: train(source, statistics=kept))
    assert "kept sums" in training.reason, training.reason
    return ms


def updates_ms(folder: Path, targets: NDArray[np.int32], count: int, size: int, classes: int) -> dict[str, float]:
    """`targets` are of more examples than the statistics are of, which are `count`."""

    def changed(targets: NDArray[np.int32], more: int = 0) -> FileExamples:
        return FileExamples(folder / "bottlenecks", targets, count + more, size)

    other, new = targets.copy(), targets.copy()
    other[:CHANGED] = (other[:CHANGED] + 1) % classes
    new[count:] = classes
    stored = folder / "statistics"
    kept, load = timed(lambda: Statistics.load(stored))
    return {
        "load": load,
        "new": update_ms(stored, changed(targets, CHANGED)),
        "other": update_ms(stored, changed(other)),
        "deleted": update_ms(stored, changed(targets).shortened(CHANGED)),
        "new class": update_ms(stored, changed(new, CHANGED)),
        "many": update_ms(stored, changed(targets, 2 * size // STORE_AGAIN_ONE_IN)),
        "store": timed(lambda: kept.save(folder / "scratch"))[1],
    }


def whole_ms(folder: Path, targets: NDArray[np.int32], count: int, size: int) -> dict[str, float]:
    """Leaves statistics of the first examples in a file, as if a closed form had been chosen."""
    source = FileExamples(folder / "bottlenecks", targets, count, size)
    kept = Statistics(source.backbone_id, size)
    training, whole = timed(lambda: train(source, statistics=kept))
    print(f"{count:,} x {size:,}: {training.reason}", file=sys.stderr)
    kept.chose(Recipe("lda", shrinkage=1.0), 1.0)
    kept.save(folder / "statistics")

    def one_pass() -> None:
        rows, again = rows_of(source.splits, TRAIN), Statistics(source.backbone_id, size)
        watch = Watch()
        follow = partial(again.follow, source, rows, source.labels, source.targets, watch)
        examples = TrainingSet(source, rows, source.targets, len(source.labels), 1 << 26, watch, follow)
        examples.scatter.solve(1.0)

    return {"pass": timed(one_pass)[1], "whole": whole}


def measure(options: argparse.Namespace, count: int, size: int, folder: Path) -> dict[str, float]:
    targets = write_bottlenecks(folder / "bottlenecks", count + size, size, options.classes)
    whole = whole_ms(folder, targets, count, size)
    found = [updates_ms(folder, targets, count, size, options.classes) for _ in range(options.times)]
    medians = {name: statistics.median(run[name] for run in found) for name in found[0]}
    return medians | whole | {"MB": (folder / "statistics").stat().st_size / 1e6}


def rows(found: dict[str, float], count: int, size: int, goal: float | None) -> Iterator[Row]:
    whole = f"all anew: {found['whole'] / 1000:.1f} s"
    for name, what in UPDATES.items():
        what, ms = f"{what}, {count:,} x {size:,}", found["load"] + found[name]
        yield (
            at_most(what, ms, goal, f"{ms:.0f} ms", whole, unit=" ms")
            if goal
            else beside(what, found["whole"] / ms, f"{ms:.0f} ms", whole)
        )


def case(text: str) -> tuple[int, int]:
    """EXAMPLESxVALUES"""
    count, size = text.split("x")
    return int(count), int(size)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", type=case, default=list(GOALS_MS), help="EXAMPLESxVALUES")
    parser.add_argument("--classes", type=int, default=CLASSES)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    every: list[Row] = []
    for number, (count, size) in enumerate(options.cases):
        with tempfile.TemporaryDirectory() as folder:
            found = measure(options, count, size, Path(folder))
        if not number:
            print(f"{'examples':>9}{'D':>6}" + "".join(f"{name:>10}" for name in found))
        print(f"{count:>9}{size:>6}" + "".join(f"{ms:>10.1f}" for ms in found.values()), flush=True)
        goal = GOALS_MS.get((count, size)) if options.classes == CLASSES else None
        every += rows(found, count, size, goal)
    return finish(every)


if __name__ == "__main__":
    sys.exit(main())
