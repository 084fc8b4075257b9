"""What a retraining costs by the number of examples: time and memory.

    python -m benchmarks.scale
    python -m benchmarks.scale --full

Examples of 2,048 uint8 values of 1,000 classes (the default: fewer) are made up as they are asked for, so that a
million of them needs no disk. Every count is trained in a process of its own with one BLAS thread. `us` are
microseconds of CPU time an example, without making the examples up: `whole` of the whole training over its
examples, `sums` of the pass over all of them, `step` of an example in a step of the study's Adam. `MB` is the peak
of the process above what it had before the training, `arrays` the part of it for what a cache knows of its examples.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from agent.board.allocator import give_back_large_blocks
from agent.board.child import ONE_THREAD
from agent.learning.training.examples import TRAIN, VAL, rows_of
from agent.learning.training.progress import Watch
from agent.learning.training.settings import STUDY
from agent.learning.training.sums import Statistics
from agent.learning.training.train import train
from benchmarks.rows import at_most, beside, finish

NOISES = 4096


class MadeUp:
    """Bottlenecks that follow from their number: the centre of a class and two of a few thousand rows of noise."""

    def __init__(self, count: int, size: int, classes: int) -> None:
        rng = np.random.default_rng(0)
        self.count, self.size, self.dtype = count, size, np.dtype(np.uint8)
        self.labels = tuple(map(str, range(classes)))
        self.targets = rng.integers(0, classes, count, np.int32)
        self.splits = np.full(count, TRAIN, np.uint8)
        self.splits[:: max(10, count // 10_000)] = VAL
        self.scale, self.zero_point, self.backbone_id = 0.02, 0, "made up"
        self._places = np.ones((count, 9), np.uint8)  # as many bytes as a cache has of each example besides
        self.departed = np.empty(0, np.uint64)
        self._centres = rng.integers(0, 40, (classes, size), np.uint8)
        self._noise = rng.integers(0, 100, (NOISES, size), np.uint8)
        self.cpu_s = 0.0

    @property
    def frame_ids(self) -> NDArray[np.uint64]:
        found: NDArray[np.uint64] = np.arange(self.count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        return found

    def forget_frame_ids(self) -> None:
        pass

    def read(self, rows: NDArray[np.intp], out: NDArray[Any]) -> NDArray[Any]:
        began = time.process_time()
        for first in range(0, len(rows), 1024):  # the making up itself takes no memory to speak of
            part = slice(first, first + 1024)
            np.take(self._centres, self.targets[rows[part]], axis=0, out=out[part], mode="clip")
            for factor in (48271, 16807):
                out[part] += self._noise[rows[part].astype(np.int64) * factor % 2147483647 % NOISES]
        self.cpu_s += time.process_time() - began
        return out


def study_s(source: MadeUp, steps: int) -> float:
    """CPU time of so many steps of the study's setting, without making the examples up."""
    began, made_up = time.process_time(), source.cpu_s
    train(source, replace(STUDY, steps=steps, validate_every=steps))
    return time.process_time() - began - (source.cpu_s - made_up)


def measured(count: int, size: int, classes: int) -> dict[str, float]:
    np.dot(np.ones((512, 512), np.float32), np.ones((512, 512), np.float32))  # BLAS takes its own buffers
    give_back_large_blocks()  # as the command does
    before = psutil.Process().memory_info().rss
    source = MadeUp(count, size, classes)
    known = psutil.Process().memory_info().rss
    rows = rows_of(source.splits, TRAIN)
    kept = Statistics(source.backbone_id, size)
    began = time.process_time()
    kept.follow(source, rows, source.labels, source.targets, Watch())
    sums_s, examples = time.process_time() - began - source.cpu_s, len(rows)
    del rows
    training = train(source, statistics=kept)
    cpu_s = time.process_time() - began - source.cpu_s
    # The least of three: they are differences, which the machine's other work falsifies twice.
    step_s = min(study_s(source, 480) - study_s(source, 160) for _ in range(3)) / (320 * 100)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{count:,}: {training.reason}", file=sys.stderr)
    return {
        "whole": 1e6 * cpu_s / examples,
        "sums": 1e6 * sums_s / examples,
        "step": 1e6 * step_s,
        "seconds": cpu_s,
        "MB": (peak - before) / 1e6,
        "arrays": (known - before) / 1e6,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--full", action="store_true", help="10,000 to 1,280,000 examples of 2,048 values, 1,000 classes"
    )
    parser.add_argument("--counts", nargs="+", type=int)
    parser.add_argument("--size", type=int)
    parser.add_argument("--classes", type=int)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    size = options.size or (2048 if options.full else 512)
    classes = options.classes or (1000 if options.full else 100)
    if options.child:
        print(json.dumps(measured(options.child, size, classes)))
        return 0
    counts = options.counts or ([10_000, 100_000, 1_280_000] if options.full else [10_000, 40_000, 160_000])
    print(f"{'examples':>9}{'whole us':>10}{'sums us':>10}{'step us':>10}{'CPU s':>9}{'MB':>8}{'arrays':>8}")
    all_found = []
    for count in counts:
        command = [sys.executable, "-m", "benchmarks.scale", "--child", str(count), "--size", str(size)]
        command += ["--classes", str(classes)]
        child = subprocess.run(command, env={**os.environ, **ONE_THREAD}, stdout=subprocess.PIPE, check=True)
        found = json.loads(child.stdout)
        all_found.append(found)
        micro = "".join(f"{found[name]:>10.2f}" for name in ("whole", "sums", "step"))
        print(f"{count:>9}{micro}{found['seconds']:>9.1f}{found['MB']:>8.0f}{found['arrays']:>8.0f}", flush=True)

    first, last = all_found[0], all_found[-1]
    growth = f"from {counts[0]:,} to {counts[-1]:,} examples"
    rows = [
        at_most(f"{what}, {growth}", last[key] / first[key], 1.15, f"{last[key]:.2f} us", f"{first[key]:.2f} us")
        for key, what in (("sums", "an example in the sums"), ("step", "an example in a step"))
    ]
    for key, what in (("MB", "peak memory"), ("arrays", "  of it what is known of the examples")):
        rows.append(beside(f"{what}, {growth}", last[key] / first[key], f"{last[key]:.0f} MB", f"{first[key]:.0f} MB"))
    rows.append(at_most("peak memory above the empty process", last["MB"], 200, unit=" MB"))
    return finish(rows)


if __name__ == "__main__":
    sys.exit(main())
