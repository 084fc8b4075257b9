"""Retraining: the default beside the study's setting, in accuracy and in time.

    python -m benchmarks.retraining
    python -m benchmarks.retraining --transfer ../shared/data/transfer --backbones ../shared/models/*embed*.tflite

The study's setting is Adam, learning rate 0.01, epsilon 0.1, batch 100, 10,000 steps, run by our own solver. Synthetic
sets: a Gaussian cloud a class in 64 dimensions, projected at random to D, with noise, and for `relu` cut off at 0.
Photographs: trained on the train rows of every list NAME/split.csv. Top-1 is that on the val rows, which the default
also chooses by; `unseen` is its top-1 on the same rows when it had to choose without them. Seconds are of the CPU
but for `wall`; one BLAS thread, as in service.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from agent.learning.dataset import open_dataset
from agent.learning.examples import TRAIN, VAL, ArrayExamples
from agent.learning.training import STUDY, Settings, Training, train
from agent.learning.validation import evaluate_head
from agent.records import SPLITS
from agent.vision.backbone import Backbone
from agent.vision.bundle import import_model
from agent.vision.image import decode

TEST = SPLITS.index("test")

HEADING = "{:<34}{:>8}{:>9}{:>8}{:>9}{:>11}{:>7}{:>8}  {}".format(
    "set", "study", "default", "unseen", "study s", "default s", "ratio", "wall s", "chosen"
)


def synthetic(kind: str, count: int, size: int, classes: int, seed: int = 0) -> ArrayExamples:
    """`count` examples to train on and 2,000 to validate, uint8."""
    rng = np.random.default_rng(seed)
    centres = 0.55 * rng.standard_normal((classes, 64))
    targets = rng.integers(0, classes, count + 2000)
    latent = centres[targets] + rng.standard_normal((len(targets), 64))
    x = latent @ rng.standard_normal((64, size)) / 8 + 0.5 * rng.standard_normal((len(targets), size))
    if kind == "relu":
        x = np.maximum(x - rng.random(size), 0) * np.exp(0.5 * rng.standard_normal(size))
    low, high = x.min(), np.quantile(x, 0.9999)
    raw = np.clip(np.rint((x - low) / (high - low) * 255), 0, 255).astype(np.uint8)
    splits = np.where(np.arange(len(targets)) < count, TRAIN, VAL)
    scale = float((high - low) / 255)
    labels = tuple(map(str, range(classes)))
    return ArrayExamples(raw, targets, labels, splits, scale=scale, zero_point=int(np.rint(-low / scale)))


def photographs(source: Path, backbone: Backbone, width: int, height: int) -> ArrayExamples:
    with open_dataset(source) as pictures:
        raw = np.stack([backbone.bottleneck(decode(picture.read(), width, height)) for picture in pictures])
        labels, targets = np.unique([picture.label for picture in pictures], return_inverse=True)
        splits = np.array([SPLITS.index(picture.split or "train") for picture in pictures])
    return ArrayExamples(raw, targets, tuple(labels.tolist()), splits, backbone.scale, backbone.zero_point)


def transfer_sets(folder: Path, models: list[Path]) -> Iterator[tuple[str, ArrayExamples]]:
    with tempfile.TemporaryDirectory() as scratch:
        for model in models:
            bundle = import_model(model, Path(scratch) / model.stem)
            backbone = Backbone(bundle, threads=2)
            for source in sorted(folder.glob("*/split.csv")):
                name = f"{source.parent.name}, {model.stem[:12]} {bundle.size}"
                yield name, photographs(source, backbone, bundle.width, bundle.height)


def synthetic_sets() -> Iterator[tuple[str, ArrayExamples]]:
    yield "gauss, 10,000 x 1024, 10 classes", synthetic("gauss", 10_000, 1024, 10)
    for kind in ("gauss", "relu"):
        yield f"{kind}, 10,000 x 1024, 100 classes", synthetic(kind, 10_000, 1024, 100)
    yield "relu, 2,000 x 1024, 100 classes", synthetic("relu", 2_000, 1024, 100)


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


def line(name: str, source: ArrayExamples) -> str:
    study, study_s, _ = measured(source, STUDY)
    default, default_s, wall_s = measured(source, Settings())
    figures: list[Any] = [
        top1(study),
        top1(default),
        unseen_top1(source),
        study_s,
        default_s,
        study_s / default_s,
        wall_s,
    ]
    numbers = "{:>8.4f}{:>9.4f}{:>8.4f}{:>9.2f}{:>11.2f}{:>7.1f}{:>8.2f}".format(*figures)
    return f"{name:<34}{numbers}  {default.solver}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transfer", type=Path, help="a folder of NAME/split.csv with their photographs")
    parser.add_argument("--backbones", nargs="+", type=Path, default=[], help=".tflite files, for --transfer")
    options = parser.parse_args()
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # BLAS looks at this when it is loaded, which it is by now
        again = [sys.executable, "-m", "benchmarks.retraining", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    print(HEADING)
    for name, source in synthetic_sets():
        print(line(name, source), flush=True)
    if options.transfer:
        for name, source in transfer_sets(options.transfer, options.backbones):
            print(line(name, source), flush=True)


if __name__ == "__main__":
    main()
