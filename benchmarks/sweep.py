"""Six settings of the solver on one cache, beside one (the mean of SGD and Adam): what it costs to try more.

    python -m benchmarks.sweep

The cache is of random examples, 100,000 of 2,048 values; an epoch is run, whose time does not depend on what they are.
Ends with 1 where six take more than three times as long.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from agent.cache import Cache
from agent.measuring.learning import LAYOUT
from agent.records import SPLITS, Example
from agent.reporting.timing import Stopwatch
from benchmarks.rows import at_most, finish
from trainer.sweeping.sweep import GRID, Extent, Setting, sweep

GOAL = 3.0
_GROUP = 1000


def fill(folder: Path, count: int, classes: int) -> Path:
    rng = np.random.default_rng(0)
    with Cache(folder, LAYOUT) as cache:
        for first in range(0, count, _GROUP):
            rows = rng.integers(0, 256, (_GROUP, LAYOUT.size), np.uint8)
            cache.append(
                [
                    Example(
                        f"{first + n + 1:016x}",
                        f"{(first + n) % classes}",
                        row,
                        0,
                        split=SPLITS[(first + n) // classes % 20 == 0],
                    )
                    for n, row in enumerate(rows)
                ]
            )
    return folder


def seconds(cache: Path, settings: tuple[Setting, ...], extent: Extent) -> float:
    began = time.monotonic()
    sweep(cache, settings, extent, Stopwatch(), int)
    return time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100_000)
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    extent = Extent(steps=max(1, arguments.examples // 100), validate_every=500)
    rows = []
    for classes in arguments.classes:
        with tempfile.TemporaryDirectory(prefix="lastlayer-") as folder:
            cache = fill(Path(folder), arguments.examples, classes)
            one, six = [], []
            for _ in range(arguments.rounds):  # in turn: what else goes on hits both
                one.append(sum(seconds(cache, (setting,), extent) for setting in (GRID[0], GRID[3])) / 2)
                six.append(seconds(cache, GRID, extent))
        what = f"six settings beside one, {classes} classes, {extent.steps} steps"
        rows.append(at_most(what, min(six) / min(one), GOAL, f"{min(six):.2f} s", f"{min(one):.2f} s"))
    return finish(rows)


if __name__ == "__main__":
    sys.exit(main())
