"""Retraining: the default beside the study's setting and beside what others offer, in accuracy and in time.

    python -m benchmarks.retraining
    python -m benchmarks.retraining --transfer pictures/ --backbones models/*.tflite

The study's setting is Adam, learning rate 0.01, epsilon 0.1, batch 100, 10,000 steps, run by our own solver. Synthetic
sets: a Gaussian cloud a class in 64 dimensions, projected at random to D, with noise, and for `relu` cut off at 0.
Photographs: trained on the train rows of every list NAME/split.csv, by default those of the folder shared if it is
there; or bottlenecks that were made before, with --bottlenecks. Top-1 is that on the val rows, which the default also
chooses by; `unseen` is its top-1 on the same rows when it had to choose without them. Seconds are of the CPU but for
`wall`; one BLAS thread, as in service.

Peers: scikit-learn, on standardised float32 bottlenecks, with its defaults but for the number of iterations (and
shrunk covariances for LDA), and the update rule of pycoral's softmax regression with the settings of its example.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read by BLAS when it is loaded

import numpy as np

from agent.learning.training.examples import VAL, ArrayExamples
from agent.learning.training.settings import STUDY, Settings
from agent.learning.training.train import Training, train
from agent.learning.training.validation import evaluate_head
from agent.records import SPLITS
from benchmarks.peers import peers
from benchmarks.rows import Row, at_least, finish
from benchmarks.sets import SHARED, stored_set, synthetic_sets, transfer_sets

TEST = SPLITS.index("test")

Figures = dict[str, tuple[float, float]]  # by contestant: top-1 and CPU seconds

HEADING = "{:<34}{:>8}{:>9}{:>8}{:>9}{:>11}{:>7}{:>8}  {}".format(
    "set", "study", "default", "unseen", "study s", "default s", "ratio", "wall s", "chosen"
)


def measured(source: ArrayExamples, settings: Settings) -> tuple[Training, float, float]:
    """The training, its CPU time and its wall time in seconds."""
    began, cpu_began = time.monotonic(), time.process_time()
    training = train(source, settings)
    return training, time.process_time() - cpu_began, time.monotonic() - began


def unseen_top1(source: ArrayExamples) -> float:
    """Of the default on the val rows, when they were hidden from it."""
    rows = np.flatnonzero(source.splits == VAL)
    raw = source.read(np.arange(source.count), np.empty((source.count, source.size), source.dtype))
    splits = np.where(source.splits == VAL, TEST, source.splits)
    hidden = ArrayExamples(raw, source.targets, source.labels, splits, source.scale, source.zero_point)
    return evaluate_head(train(hidden).head, source, rows).top1


def top1(training: Training) -> float:
    assert training.validation is not None
    return training.validation.top1


def line(name: str, source: ArrayExamples) -> tuple[str, Figures]:
    """The default beside the study; and both in the form in which the peers are shown."""
    study, study_s, _ = measured(source, STUDY)
    default, default_s, wall_s = measured(source, Settings())
    unseen, ratio = unseen_top1(source), study_s / default_s
    figures: list[Any] = [top1(study), top1(default), unseen, study_s, default_s, ratio, wall_s]
    numbers = "{:>8.4f}{:>9.4f}{:>8.4f}{:>9.2f}{:>11.2f}{:>7.1f}{:>8.2f}".format(*figures)
    ours = {"study": (top1(study), study_s), "default": (top1(default), default_s)}
    return f"{name:<34}{numbers}  {default.solver}", ours


def sets(options: argparse.Namespace) -> Iterator[tuple[str, ArrayExamples]]:
    if not options.no_synthetic:
        yield from synthetic_sets()
    for path in options.bottlenecks:
        yield path.stem, stored_set(path)
    if options.transfer.is_dir():
        yield from transfer_sets(options.transfer, options.backbones)


def means(found: dict[str, Figures], name: str) -> tuple[float, float]:
    """Top-1 and CPU seconds of one of them, over all sets."""
    top1, seconds = np.mean([figures[name] for figures in found.values()], axis=0).tolist()
    return top1, seconds


def rows_of(found: dict[str, Figures]) -> Iterator[Row]:
    """Goals: top-1 never lower than the study's by more than 0.005, higher on average, a fifth of its CPU time."""
    for name, figures in found.items():
        (study, study_s), (ours, ours_s) = figures["study"], figures["default"]
        texts = f"{ours:.3f}, {ours_s:.2f} s", f"the study's setting: {study:.3f}, {study_s:.2f} s"
        yield at_least(f"{name}: top-1 beyond", ours - study, -0.005, *texts, unit="")
        yield at_least("  CPU time", study_s / ours_s, 5, *texts)
    ours, ours_s = means(found, "default")
    for name in next(iter(found.values())):
        if name == "default":
            continue
        top1, seconds = means(found, name)
        what = f"mean of {len(found)} sets: top-1 beyond"
        texts = f"{ours:.3f}, {ours_s:.2f} s", f"{name}: {top1:.3f}, {seconds:.2f} s"
        yield (
            at_least(what, ours - top1, 0, *texts, unit="")
            if name == "study"
            else Row(what, *texts, f"{ours - top1:+.3f}, {seconds / ours_s:.2g}x")
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--transfer",
        type=Path,
        default=SHARED / "data" / "transfer",
        help="a folder of NAME/split.csv with photographs",
    )
    models = sorted((SHARED / "models").glob("*embed*.tflite"))
    parser.add_argument("--backbones", nargs="+", type=Path, default=models, help=".tflite files, for --transfer")
    parser.add_argument("--bottlenecks", nargs="+", type=Path, default=[], help=".npz files of bottlenecks")
    parser.add_argument("--no-synthetic", action="store_true")
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    print(HEADING)
    found = {}
    for name, source in sets(options):
        text, ours = line(name, source)
        print(text, flush=True)
        found[name] = ours if options.no_peers else {**ours, **peers(source)}
    if not found:
        parser.error("there is no set to train on")
    return finish(list(rows_of(found)))


if __name__ == "__main__":
    sys.exit(main())
