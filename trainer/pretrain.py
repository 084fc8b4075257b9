"""Trains a backbone from a corpus, by the clock, with or without a teacher.

With a teacher the network learns three things at once from the same hidden layer: the teacher's
standardised bottleneck (mean squared error), its softened class scores (cross-entropy at
temperature 2; Hinton et al. 2015) and the corpus' own classes (cross-entropy, smoothed by 0.1).
Without one only the classes are left.
"""

import json
import math
import os
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from agent.errors import ConfigError, DatasetError
from agent.files import write_atomically
from agent.reporting.timing import Timings
from trainer.backbones import tiny_resnet, with_heads
from trainer.corpus import Corpus, read_shards
from trainer.lessons import Lessons, answers
from trainer.teacher import load_teacher
from trainer.views import augmented, crop, view_boxes, whole

STRETCH = 64  # steps between two looks at the clock
LOSS_WEIGHTS = {"features": 2.0, "scores": 2.0, "classes": 0.5}
PEAK_RATE = 3e-3
WEIGHT_DECAY = 0.05
WARM_UP = 0.03  # of the time
SMALL_SHARE = 0.8  # of the time is spent on pictures of two thirds of the size
CHECKPOINT_S = 120.0

Report = Callable[[str], None]


@dataclass(frozen=True)
class Recipe:
    corpus: Path
    out: Path  # the checkpoint, *.keras
    minutes: float
    size: int = 96  # side of the pictures at the end of the training
    batch: int = 128
    views: int = 3  # crops of every picture that are drawn once and for all
    seed: int = 0
    workers: int = 1  # threads that ask the teacher
    teacher: Path | None = None
    cache: Path | None = None  # where the teacher's answers are kept
    resume: bool = False


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """An endless shuffled walk over the training pictures, in stretches of `steps` batches."""

    def __init__(
        self, corpus: Corpus, boxes: NDArray[np.float32], taught: Lessons | None, size: int, batch: int, seed: int
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        self.corpus, self.boxes, self.taught, self.size, self.batch = corpus, boxes, taught, size, batch
        self.rows = corpus.train_rows
        self.steps = min(STRETCH, math.ceil(len(self.rows) / batch))
        self.rng = np.random.default_rng(seed)
        self.order = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, _: int) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
        while len(self.order) < self.batch:
            self.order = np.concatenate([self.order, self.rng.permutation(len(self.rows))])
        chosen, self.order = self.order[: self.batch], self.order[self.batch :]
        views = self.rng.integers(self.boxes.shape[1], size=self.batch)
        rows = self.rows[chosen]
        images = np.stack(
            [crop(self.corpus.pictures[r], self.boxes[r, v], self.size) for r, v in zip(rows, views, strict=True)]
        )
        targets = self.taught.targets(chosen, views) if self.taught else {}
        targets["classes"] = np.eye(len(self.corpus.class_ids), dtype=np.float32)[self.corpus.classes[rows]]
        return augmented(images, self.rng), targets


def learning_rate(share: float) -> float:
    """Linear warm-up, then a cosine to nought, by the share of the time that has gone."""
    return PEAK_RATE * min(1.0, share / WARM_UP + 0.01) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


class Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets the learning rate, writes checkpoints and ends the training, by elapsed time."""

    def __init__(self, recipe: Recipe, report: Report, elapsed_s: float, pictures: int) -> None:
        super().__init__()
        self.recipe, self.report = recipe, report
        self.budget_s = 60 * recipe.minutes
        self.elapsed_s, self.pictures = elapsed_s, pictures  # spent and seen, earlier runs included
        self.until = 1.0
        self.loss = math.nan
        self.written = self.mark = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.model.optimizer.learning_rate = learning_rate(self.elapsed_s / self.budget_s)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        now = time.monotonic()
        took, self.mark = now - self.mark, now
        self.elapsed_s += took
        seen = int(self.params["steps"]) * self.recipe.batch
        self.pictures += seen
        losses = {name.removesuffix("_loss"): value for name, value in (logs or {}).items()}
        self.loss = losses["loss"]
        parts = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
        self.report(f"{self.elapsed_s:6.0f}/{self.budget_s:.0f} s  {seen / took:5.0f} pictures/s  {parts}")
        if self.elapsed_s >= self.until * self.budget_s:
            self.model.stop_training = True
        if now - self.written > CHECKPOINT_S or self.model.stop_training:
            self.written = now
            write_checkpoint(self.model, self.recipe.out, {"elapsed_s": self.elapsed_s, "pictures": self.pictures})


def progress_path(checkpoint: Path) -> Path:
    return checkpoint.with_suffix(".json")


def write_checkpoint(network: Any, path: Path, progress: dict[str, float]) -> None:
    """Replaces the checkpoint, and beside it how far the training has come."""
    temporary = path.with_name(f".{path.name}")
    network.save(temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    write_atomically(progress_path(path), json.dumps(progress).encode() + b"\n")


def ask_teacher(recipe: Recipe, corpus: Corpus, boxes: NDArray[np.float32], report: Report) -> Lessons | None:
    if recipe.teacher is None:
        return None
    teacher = load_teacher(recipe.teacher)
    rows = corpus.train_rows
    stored = answers(
        teacher,
        [corpus.pictures[row] for row in rows],
        boxes[rows],
        recipe.cache or recipe.out.parent / "teacher",
        f"{corpus.digest} seed {recipe.seed}",
        recipe.workers,
        lambda done, of: report(f"teacher: {done}/{of}"),
    )
    sample = teacher.bottlenecks(stored[:: max(1, len(stored) // 8192), 0])  # [~8192, D]
    return Lessons(teacher, stored, sample.mean(axis=0), np.maximum(sample.std(axis=0), 1e-2))


def new_network(corpus: Corpus, taught: Lessons | None) -> Any:
    heads = {"classes": len(corpus.class_ids)}
    losses: dict[str, Any] = {"classes": keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)}
    if taught:
        depth, scores = taught.teacher.weights.shape
        heads |= {"features": depth, "scores": scores}
        losses |= {"features": "mse", "scores": keras.losses.CategoricalCrossentropy(from_logits=True)}
    network = with_heads(tiny_resnet(), heads)
    optimizer = keras.optimizers.AdamW(PEAK_RATE, weight_decay=WEIGHT_DECAY)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    network.compile(optimizer, loss=losses, loss_weights={name: LOSS_WEIGHTS[name] for name in losses})
    return network


def restore(network: Any, checkpoint: Path) -> dict[str, float]:
    """Loads weights and the optimizer's moments into a new network; returns how far they have come."""
    try:
        progress = json.loads(progress_path(checkpoint).read_text())
        network.optimizer.build(network.trainable_variables)
        network.load_weights(checkpoint)
        return {"elapsed_s": float(progress["elapsed_s"]), "pictures": int(progress["pictures"])}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"{checkpoint} cannot be resumed with this corpus and teacher: {error}; leave --resume away to start anew"
        ) from error


def validation_top1(network: Any, corpus: Corpus, size: int, batch: int) -> float | None:
    """Share of the validation pictures whose own class scores highest; None without such pictures."""
    rows = corpus.validation_rows
    if not len(rows):
        return None
    hits = 0
    for start in range(0, len(rows), batch):
        chunk = rows[start : start + batch]
        images = np.stack([crop(corpus.pictures[row], whole(corpus.pictures[row]), size) for row in chunk])
        scores = keras.ops.convert_to_numpy(network(images.astype(np.float32), training=False)["classes"])
        hits += int((scores.argmax(axis=1) == corpus.classes[chunk]).sum())
    return hits / len(rows)


def pretrain(recipe: Recipe, report: Report, timings: Timings) -> dict[str, Any]:
    """Trains until the time is up; returns figures. The checkpoint is rewritten every two minutes.

    Raises DatasetError (corpus), BundleError (teacher) or ConfigError (checkpoint to resume).
    """
    if recipe.out.exists() and not recipe.resume:
        raise ConfigError(f"{recipe.out} exists: go on with it by --resume, or name another checkpoint")
    keras.utils.set_random_seed(recipe.seed)
    corpus = read_shards(recipe.corpus)
    if not len(corpus.train_rows):
        raise DatasetError(f"{recipe.corpus} holds pictures for validation only: nothing to train on")
    report(f"{len(corpus.pictures)} pictures of {len(corpus.class_ids)} classes, {corpus.unreadable} unreadable")
    boxes = view_boxes(corpus.pictures, recipe.views, recipe.seed)
    with timings.phase("teacher", len(corpus.train_rows)):
        taught = ask_teacher(recipe, corpus, boxes, report)
    recipe.out.parent.mkdir(parents=True, exist_ok=True)
    network = new_network(corpus, taught)
    progress = restore(network, recipe.out) if recipe.resume else {"elapsed_s": 0.0, "pictures": 0}
    clock = Clock(recipe, report, progress["elapsed_s"], int(progress["pictures"]))
    seed = recipe.seed + clock.pictures  # a resumed walk is another walk
    for clock.until, size in ((SMALL_SHARE, recipe.size * 2 // 3), (1.0, recipe.size)):
        if clock.elapsed_s < clock.until * clock.budget_s:
            batches = Batches(corpus, boxes, taught, size, recipe.batch, seed)
            network.fit(batches, epochs=1_000_000, callbacks=[clock], verbose=0, shuffle=False)
    with timings.phase("evaluate", len(corpus.validation_rows)):
        top1 = validation_top1(network, corpus, recipe.size, recipe.batch)
    return {
        "checkpoint": str(recipe.out),
        "backend": keras.config.backend(),
        "parameters": network.count_params(),
        "pictures": len(corpus.pictures),
        "unreadable": corpus.unreadable,
        "classes": len(corpus.class_ids),
        "pictures_seen": clock.pictures,
        "training_s": round(clock.elapsed_s, 1),
        "loss": clock.loss,
        "validation_top1": top1,
        "phases": [report.as_dict() for report in timings.since_start()],
    }
