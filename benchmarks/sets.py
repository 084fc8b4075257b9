"""Sets of bottlenecks to retrain heads on: made up, from photographs, or stored."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from agent.learning.pictures.dataset import open_dataset
from agent.learning.training.examples import TRAIN, VAL, ArrayExamples
from agent.records import SPLITS
from agent.vision.backbone import Backbone
from agent.vision.image import decode
from agent.vision.importing import import_model

SHARED = Path(os.environ.get("LASTLAYER_SHARED") or Path(__file__).resolve().parents[2] / "shared")


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
