"""Ten new labels on a large cache: what a retraining with kept statistics costs, beside one from the start.

    python -m benchmarks.update
    python -m benchmarks.update --examples 1000000 --sizes 2048

Synthetic uint8 bottlenecks in a file, 100 classes, one BLAS thread; medians of wall time in ms. `load` reads the
statistics from their file, `read` the bottlenecks of what is new, `update` adds them to the sums, `solve` makes the
head, `validate` judges it on 2,000 examples, `store` writes the statistics, which is done only where more examples
than a bottleneck has values have changed; `rest` finds out what has changed; `train` is all of it but load and store.
`whole` is a retraining from the start, `gram` reads all examples once and makes the same head.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.learning import automatic
from agent.learning.examples import TRAIN, VAL
from agent.learning.progress import Watch
from agent.learning.recipe import Recipe
from agent.learning.statistics import Statistics
from agent.learning.training import train
from agent.learning.trainingset import TrainingSet

CLASSES, NEW = 100, 10


class FileExamples:
    """The first `count` rows of a file of bottlenecks, as flash would hold them."""

    def __init__(self, path: Path, targets: NDArray[np.int32], count: int, size: int) -> None:
        self.count, self.size, self.dtype = count, size, np.dtype(np.uint8)
        self.labels = tuple(map(str, range(CLASSES)))
        self.targets = targets[:count]
        self.splits = np.where(np.arange(count) % 10 == 9, VAL, TRAIN).astype(np.uint8)
        self.scale, self.zero_point, self.backbone_id = 0.02, 0, "synthetic"
        self.frame_ids = np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # in no order
        self._file = path.open("rb", buffering=0)

    def read(self, rows: NDArray[np.intp], out: NDArray[Any]) -> NDArray[Any]:
        first, last = int(rows.min()), int(rows.max())
        if last - first < 4 * len(rows):
            block = os.pread(self._file.fileno(), (last - first + 1) * self.size, first * self.size)
            np.take(np.frombuffer(block, np.uint8).reshape(-1, self.size), rows - first, axis=0, out=out, mode="clip")
            return out
        for place, row in enumerate(rows.tolist()):
            out[place] = np.frombuffer(os.pread(self._file.fileno(), self.size, row * self.size), np.uint8)
        return out


def write_bottlenecks(path: Path, count: int, size: int) -> NDArray[np.int32]:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, CLASSES, count).astype(np.int32)
    centres = rng.standard_normal((CLASSES, size), np.float32) * 4 + 60
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


def update_ms(source: FileExamples, path: Path) -> dict[str, float]:
    """An update in its parts, and as `train` does it."""
    rows = np.flatnonzero(source.splits == TRAIN)
    kept, load = timed(lambda: Statistics.load(path))
    watch = Watch()
    moments, follow = timed(lambda: kept.follow(source, rows, source.labels, source.targets, watch))
    read = watch.phases.totals["file_access"].total_ms
    update = watch.phases.totals["closed_form"].total_ms
    examples = TrainingSet(source, rows, source.targets, CLASSES, 1 << 26, Watch(), lambda: moments)
    _, solve = timed(lambda: automatic.again(examples, kept.chosen))
    _, store = timed(lambda: kept.save(path.with_name("scratch")))
    kept = Statistics.load(path)
    training, train_ms = timed(lambda: train(source, statistics=kept))
    assert not training.candidates, "it was no update"
    validate = training.phases["validation"]["total_ms"]
    return {
        "load": load,
        "rest": follow - read - update,
        "read": read,
        "update": update,
        "solve": solve,
        "validate": validate,
        "train": train_ms,
        "store": store,
    }


def whole_ms(path: Path, targets: NDArray[np.int32], options: argparse.Namespace, size: int) -> tuple[float, float]:
    """Leaves the statistics of the first examples in the file `statistics`."""
    source = FileExamples(path, targets, options.examples, size)
    kept = Statistics(source.backbone_id, size)
    training, whole = timed(lambda: train(source, statistics=kept))
    print(f"{options.examples:,} x {size:,}: {training.reason}", file=sys.stderr)
    if kept.chosen is None or kept.chosen.recipe.solver == "adam":
        kept.chose(Recipe("lda", shrinkage=1.0), 1.0)
    chosen = kept.chosen
    kept.save(path.with_name("statistics"))

    def from_the_start() -> None:
        again = Statistics(source.backbone_id, size)
        rows = np.flatnonzero(source.splits == TRAIN)
        moments = again.follow(source, rows, source.labels, source.targets, Watch())
        examples = TrainingSet(source, rows, source.targets, CLASSES, 1 << 26, Watch(), lambda: moments)
        assert chosen is not None
        automatic.again(examples, chosen)

    return whole, timed(from_the_start)[1]


def measure(options: argparse.Namespace, size: int, folder: Path) -> None:
    path = folder / "bottlenecks"
    targets = write_bottlenecks(path, options.examples + NEW, size)
    whole, gram = whole_ms(path, targets, options, size)
    source = FileExamples(path, targets, options.examples + NEW, size)
    found = [update_ms(source, folder / "statistics") for _ in range(options.times)]
    medians = {name: statistics.median(run[name] for run in found) for name in found[0]}
    stored = (folder / "statistics").stat().st_size / 1e6
    figures = "".join(f"{ms:>10.1f}" for ms in (*medians.values(), gram, whole))
    print(f"{options.examples:>9}{size:>6}{figures}{stored:>8.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100_000)
    parser.add_argument("--sizes", nargs="+", type=int, default=[1024, 2048])
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # BLAS looks at this when it is loaded, which it is by now
        again = [sys.executable, "-m", "benchmarks.update", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    names = ("load", "rest", "read", "update", "solve", "validate", "train", "store", "gram", "whole")
    print(f"{'examples':>9}{'D':>6}" + "".join(f"{name:>10}" for name in names) + f"{'MB':>8}")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            measure(options, size, Path(folder))


if __name__ == "__main__":
    main()
