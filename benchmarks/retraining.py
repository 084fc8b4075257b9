"""Retraining: the default beside the study's setting and beside what others offer, in accuracy and in time.

    python -m benchmarks.retraining
    python -m benchmarks.retraining --transfer ../shared/data/transfer --backbones ../shared/models/*embed*.tflite

The study's setting is Adam, learning rate 0.01, epsilon 0.1, batch 100, 10,000 steps, run by our own solver. Synthetic
sets: a Gaussian cloud a class in 64 dimensions, projected at random to D, with noise, and for `relu` cut off at 0.
Photographs: trained on the train rows of every list NAME/split.csv; or bottlenecks that were made before, with
--bottlenecks. Top-1 is that on the val rows, which the default also chooses by; `unseen` is its top-1 on the same rows
when it had to choose without them. Seconds are of the CPU but for `wall`; one BLAS thread, as in service.

Peers: scikit-learn, on standardised float32 bottlenecks, with its defaults but for the number of iterations (and
shrunk covariances for LDA), and the update rule of pycoral's softmax regression with the settings of its example.
"""

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from agent.learning.dataset import open_dataset
from agent.learning.examples import TRAIN, VAL, ArrayExamples, Targets
from agent.learning.head import Float32
from agent.learning.settings import STUDY, Settings
from agent.learning.training import Training, train
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


def stored_set(path: Path) -> ArrayExamples:
    """A .npz with X [N, D], y [N], labels [K], val [N] (bool), scale and zero_point."""
    with np.load(path) as stored:
        splits = np.where(stored["val"], VAL, TRAIN)
        scale = float(stored["scale"]) or 1.0  # 0 where the bottlenecks are not quantized
        labels = tuple(stored["labels"].tolist())
        return ArrayExamples(stored["X"], stored["y"], labels, splits, scale, int(stored["zero_point"]))


def softmax_regression(x: Float32, targets: Targets, classes: int) -> Callable[[Float32], Any]:
    """pycoral's rule: SGD, the gradient of each row through the Jacobian [K, K] of its softmax."""
    rng = np.random.default_rng(0)
    weights, bias = 0.05 * rng.standard_normal((x.shape[1], classes)), np.zeros(classes)
    for _ in range(500):
        rows = rng.integers(0, len(x), 100)
        batch = x[rows]
        scores = batch @ weights + bias
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        of_target = p[np.arange(len(p)), targets[rows]]
        slopes = np.zeros_like(p)  # of the loss by the probabilities
        slopes[np.arange(len(p)), targets[rows]] = -1 / np.maximum(of_target, 1e-12)
        jacobians = p[:, :, None] * np.eye(classes) - p[:, :, None] * p[:, None, :]
        error = np.einsum("bij,bj->bi", jacobians, slopes) / len(p)
        weights -= 0.01 * (batch.T @ error)
        bias -= 0.01 * error.sum(axis=0)
    return lambda x: (x @ weights + bias).argmax(axis=1)


def scikit_learn() -> dict[str, Any]:
    """Estimators by the name of their column."""
    try:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
    except ImportError:
        return {}
    return {
        "LogisticReg": LogisticRegression(max_iter=300),
        "SGDClassifier": SGDClassifier(loss="log_loss", max_iter=20, random_state=0),
        "RidgeClassif": RidgeClassifier(),
        "LDA": LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
    }


def peers(source: ArrayExamples) -> dict[str, tuple[float, float]]:
    """Top-1 and CPU time in seconds of every peer; standardising counts for none of them."""
    raw = source.read(np.arange(source.count), np.empty((source.count, source.size), source.dtype)).astype(np.float32)
    fit, val = source.splits == TRAIN, source.splits == VAL
    x = (raw - raw[fit].mean(axis=0)) / (raw[fit].std(axis=0) + 1e-6)
    found = {}

    def fitted(name: str, fit_it: Callable[[], Callable[[Float32], Any]]) -> None:
        began = time.process_time()
        predict = fit_it()
        spent = time.process_time() - began
        found[name] = float((predict(x[val]) == source.targets[val]).mean()), spent

    for name, estimator in scikit_learn().items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of not having converged
            fitted(name, lambda: estimator.fit(x[fit], source.targets[fit]).predict)  # noqa: B023
    fitted("pycoral's", lambda: softmax_regression(x[fit], source.targets[fit], len(source.labels)))
    return found


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


def line(name: str, source: ArrayExamples) -> tuple[str, dict[str, tuple[float, float]]]:
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
    if options.transfer:
        yield from transfer_sets(options.transfer, options.backbones)


def show_peers(found: dict[str, dict[str, tuple[float, float]]]) -> None:
    names = list(next(iter(found.values())))
    print("\ntop-1 / CPU seconds\n" + " " * 34 + "".join(f"{name:>16}" for name in names))
    for name, figures in found.items():
        print(f"{name:<34}" + "".join(f"{f'{score:.4f} / {s:.2f}':>16}" for score, s in figures.values()))
    means = "".join(f"{np.mean([figures[name][0] for figures in found.values()]):>16.4f}" for name in names)
    print(f"{'mean':<34}{means}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transfer", type=Path, help="a folder of NAME/split.csv with their photographs")
    parser.add_argument("--backbones", nargs="+", type=Path, default=[], help=".tflite files, for --transfer")
    parser.add_argument("--bottlenecks", nargs="+", type=Path, default=[], help=".npz files of bottlenecks")
    parser.add_argument("--no-synthetic", action="store_true")
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # BLAS looks at this when it is loaded, which it is by now
        again = [sys.executable, "-m", "benchmarks.retraining", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    print(HEADING)
    found = {}
    for name, source in sets(options):
        text, ours = line(name, source)
        print(text, flush=True)
        found[name] = ours if options.no_peers else {**ours, **peers(source)}
    show_peers(found)


if __name__ == "__main__":
    main()
