"""Trains a backbone from a corpus, by the clock, with or without a teacher.

With a teacher the network learns three things at once from the same hidden layer: the teacher's
standardised bottleneck (mean squared error), its softened class scores (cross-entropy at
temperature 2; Hinton et al. 2015) and the corpus' own classes (cross-entropy, smoothed by 0.1).
Without one only the classes are left.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from agent.errors import ConfigError
from agent.reporting.timing import Timings
from agent.terminal import say
from trainer.making import checkpoint
from trainer.making.batches import Batches, validation_top1
from trainer.making.checkpoint import Progress
from trainer.making.corpus import Corpus, read_corpus
from trainer.making.devices import Device, Precision, prepare
from trainer.making.fitting import Fit, Running, Stage, warm_cosine
from trainer.making.lessons import Lessons, answers
from trainer.making.scalars import Scalars
from trainer.making.teacher import load_teacher
from trainer.making.views import view_boxes
from trainer.networks.applications import Application, headless
from trainer.networks.backbones import tiny_resnet, with_heads

LOSS_WEIGHTS = {"features": 2.0, "scores": 2.0, "classes": 0.5}
WEIGHT_DECAY = 0.05
SMALL_SHARE = 0.8  # of the time is spent on pictures of two thirds of the size


@dataclass(frozen=True)
class Recipe:
    corpus: Path
    out: Path  # the checkpoint, *.keras
    minutes: float
    network: str = "tinyresnet"  # or a name in keras.applications
    alpha: float | None = None
    size: int = 96  # side of the pictures at the end of the training
    batch: int = 128
    rate: float = 3e-3  # the highest learning rate
    views: int = 3  # crops of every picture that are drawn once and for all
    seed: int = 0
    workers: int = 1  # threads that make batches and ask the teacher
    precision: Precision = "auto"
    teacher: Path | None = None
    cache: Path | None = None  # where the teacher's answers are kept
    checkpoint_s: float = 120.0
    tensorboard: Path | None = None
    resume: bool = False


def pretrain(recipe: Recipe, timings: Timings) -> dict[str, Any]:
    """Trains until the time is up; returns figures. The checkpoint is rewritten every `checkpoint_s`.

    Raises DatasetError (corpus), BundleError (teacher), ConfigError (what was asked for, the checkpoint to resume),
    TrainingError (the loss is no number) or StateError (the checkpoint cannot be written).
    """
    progress = checkpoint.begun(recipe.out, recipe.resume)
    where, precision = prepare(recipe.precision, recipe.seed)
    corpus = read_corpus(recipe.corpus, 2 * recipe.size)
    say(
        f"{len(corpus.pictures)} pictures of {len(corpus.labels)} classes, {corpus.unreadable} unreadable; "
        f"{keras.config.backend()} on {where.name} in {precision}"
    )
    boxes = view_boxes(corpus.pictures, recipe.views, recipe.seed)
    taught = ask_teacher(recipe, corpus, boxes, timings)
    network = compiled(with_heads(new_backbone(recipe), heads_for(corpus, taught)), recipe.rate, taught)
    if recipe.resume:
        checkpoint.restore(network, recipe.out)
    with Scalars(recipe.tensorboard) as scalars:
        fit = Fit(network, progress, Running(recipe.out, recipe.workers, recipe.checkpoint_s, timings, scalars))
        for name, until, size in sizes(recipe):
            if share_of_time(recipe, progress) < until:
                batches = Batches(corpus, boxes, taught, size, recipe.batch, recipe.seed)
                share = lambda progress: share_of_time(recipe, progress)  # noqa: E731
                fit.run(Stage(name, batches, share, until, warm_cosine(recipe.rate)))
        with timings.phase("evaluate", len(corpus.validation_rows)):
            top1 = validation_top1(network, corpus, recipe.size, recipe.batch)
        scalars.add({} if top1 is None else {"validation_top1": top1}, progress.step)
    return figures(fit, corpus, where, precision) | {"validation_top1": top1}


def share_of_time(recipe: Recipe, progress: Progress) -> float:
    return progress.elapsed_s / (60 * recipe.minutes)


def sizes(recipe: Recipe) -> list[tuple[str, float, int]]:
    """Name, until which share of the time, and side of the pictures; smaller ones first, where the network allows."""
    if recipe.network != "tinyresnet":
        return [("train", 1.0, recipe.size)]
    small = recipe.size * 2 // 3
    return [(f"{small} px", SMALL_SHARE, small), (f"{recipe.size} px", 1.0, recipe.size)]


def new_backbone(recipe: Recipe) -> Any:
    if recipe.network != "tinyresnet":
        return headless(Application(recipe.network, "random", recipe.alpha, recipe.size, recipe.seed))
    if recipe.alpha is not None:
        raise ConfigError("tinyresnet comes in one width: leave --alpha away")
    return tiny_resnet()


def ask_teacher(recipe: Recipe, corpus: Corpus, boxes: NDArray[np.float32], timings: Timings) -> Lessons | None:
    if recipe.teacher is None:
        return None
    teacher = load_teacher(recipe.teacher)
    rows = corpus.train_rows
    with tqdm(desc="teacher", unit=" chunks", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:

        def report(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        stored = answers(
            teacher,
            [corpus.pictures[row] for row in rows],
            boxes[rows],
            recipe.cache or recipe.out.parent / "teacher",
            f"{corpus.digest} seed {recipe.seed}",
            recipe.workers,
            report,
            timings,
        )
    sample = teacher.bottlenecks(stored[:: max(1, len(stored) // 8192), 0])  # [~8192, D]
    return Lessons(teacher, stored, sample.mean(axis=0), np.maximum(sample.std(axis=0), 1e-2))


def heads_for(corpus: Corpus, taught: Lessons | None) -> dict[str, int]:
    heads = {"classes": len(corpus.labels)}
    if taught:
        depth, scores = taught.teacher.weights.shape
        heads |= {"features": depth, "scores": scores}
    return heads


def figures(fit: Fit, corpus: Corpus, where: Device, precision: str) -> dict[str, Any]:
    """What is to be known of a training that is over."""
    return {
        "checkpoint": str(fit.running.out),
        "backend": keras.config.backend(),
        "device": where.name,
        "precision": precision,
        "parameters": fit.network.count_params(),
        "pictures": len(corpus.pictures),
        "unreadable": corpus.unreadable,
        "classes": len(corpus.labels),
        "steps": fit.progress.step,
        "pictures_seen": fit.progress.pictures,
        "pictures_per_s": round(fit.pictures_per_s, 1),
        "waited_share": round(fit.waited_share, 4),
        "training_s": round(fit.progress.elapsed_s, 1),
        "loss": fit.loss,
    }


def compiled(network: Any, rate: float, taught: Lessons | None = None) -> Any:
    losses: dict[str, Any] = {"classes": keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)}
    if taught:
        losses |= {"features": "mse", "scores": keras.losses.CategoricalCrossentropy(from_logits=True)}
    optimizer = keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    network.compile(optimizer, loss=losses, loss_weights={name: LOSS_WEIGHTS[name] for name in losses})
    return network
