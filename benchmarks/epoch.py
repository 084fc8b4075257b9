"""An epoch of the study, 100,000 examples of 100 classes in batches of 100, beside the study's own scheme.

    python -m benchmarks.epoch [--folder DIR]

Theirs: one text file a bottleneck, 100 of them read and parsed for each step, and the step in plain float32 numpy;
over some steps, the epoch by the rule of three. Ours: a whole epoch from a real cache, twice. Both with a warm page
cache and one BLAS thread. `input` is reading and parsing, or the phase file_access. Ends with 1 where a goal is missed.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from agent.measuring.learning import Effort, measure_epochs, measure_validations, synthetic_cache
from benchmarks.peers import TextFiles, plain_numpy
from benchmarks.rows import at_least, at_most, finish

EXAMPLES, CLASSES, BATCH = 100_000, 100, 100
STEPS = 40
GOAL_RATIO, GOAL_INPUT = 15.0, 0.10


def theirs(folder: Path, seed: int) -> tuple[float, float]:
    """Seconds an epoch of the text scheme takes, and those of them for input."""
    rng = np.random.default_rng(seed)
    files = TextFiles(folder, BATCH, rng)
    step = plain_numpy(CLASSES, BATCH)
    reading, training = [], []
    for _ in range(STEPS):
        began = time.perf_counter()
        batch = files.batch()
        read = time.perf_counter()
        step(batch, rng.integers(0, CLASSES, BATCH, np.int32))  # type: ignore[arg-type]
        reading.append(read - began)
        training.append(time.perf_counter() - read)
    steps = EXAMPLES / BATCH
    input_s = statistics.median(reading) * steps
    return input_s + statistics.median(training) * steps, input_s


def ours(folder: Path, seed: int) -> tuple[float, float]:
    """Seconds an epoch takes, and those of them for input."""
    effort = Effort(EXAMPLES, 1000, {BATCH: 2}, 2, part=20_000, epochs=2, whole_s=120.0)
    with synthetic_cache(folder, seed) as cache:
        cache.grow(EXAMPLES)
        epoch = measure_epochs(cache, measure_validations(cache.examples(), effort, seed), effort, seed)[0]
    if epoch.extrapolated:
        sys.exit("epoch: a whole epoch would take more than two minutes here")
    return epoch.mean_ms / 1000, epoch.parts_ms["file_access"] / 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the files lie meanwhile (default: the temporary folder)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as scratch:
        (Path(scratch) / "text").mkdir()
        text_s, text_input_s = theirs(Path(scratch) / "text", seed=0)
        own_s, own_input_s = ours(Path(scratch), seed=0)
    ours_s, theirs_s = f"{own_s:.2f} s", f"text files, plain numpy: {text_s:.1f} s"
    rows = [
        at_least("an epoch of 100,000, 100 classes, batch 100", text_s / own_s, GOAL_RATIO, ours_s, theirs_s),
        at_most("  of it input", own_input_s / own_s, GOAL_INPUT, f"{own_input_s:.2f} s", f"{text_input_s:.1f} s", ""),
    ]
    return finish(rows)


if __name__ == "__main__":
    sys.exit(main())
