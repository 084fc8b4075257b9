"""Trains a backbone from a corpus, by the clock, with or without a teacher.

With a teacher the network learns three things at once from the same hidden layer: the teacher's
standardised bottleneck (mean squared error), its softened class scores (cross-entropy at
temperature 2; Hinton et al. 2015) and the corpus' own classes (cross-entropy, smoothed by 0.1).
Without one only the classes are left.
"""

from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agent.errors import ConfigError
from agent.reporting.timing import Timings
from trainer.making import checkpoint
from trainer.making.batches import Batches
from trainer.making.checkpoint import Standing
from trainer.making.corpus import Corpus
from trainer.making.course import Course, compiled
from trainer.making.lessons import Lessons, taught_by
from trainer.making.loop import Loop, Stage, Terms, warm_cosine
from trainer.making.teacher import load_teacher
from trainer.networks.applications import Application, headless
from trainer.networks.tinyresnet import tiny_resnet, with_heads

SMALL_SHARE = 0.8  # of the time is spent on pictures of two thirds of the size


@dataclass(frozen=True, kw_only=True)
class Pretraining(Terms):
    minutes: float
    network: str = "tinyresnet"  # or a name in keras.applications
    alpha: float | None = None
    size: int = 96  # side of the pictures at the end of the training
    batch: int = 128
    rate: float = 3e-3  # the highest learning rate
    teacher: Path | None = None
    cache: Path | None = None  # where the teacher's answers are kept


def pretrain(terms: Pretraining, timings: Timings) -> dict[str, Any]:
    """Trains until the time is up; returns figures. The checkpoint is rewritten every `checkpoint_s`.

    Raises DatasetError (corpus), BundleError (teacher), ConfigError (what was asked for, the checkpoint to resume),
    TrainingError (the loss is no number) or StateError (the checkpoint cannot be written).
    """
    course = Course(terms, timings)
    corpus, boxes = course.read(terms.size)
    taught = None
    if terms.teacher is not None:
        cache = terms.cache or terms.out.parent / "teacher"
        teacher = load_teacher(terms.teacher)
        taught = taught_by(teacher, corpus, boxes, cache, terms.seed, terms.workers, timings)
    network = compiled(with_heads(new_backbone(terms), heads_for(corpus, taught)), terms.rate, taught)
    if terms.resume:
        checkpoint.restore(network, terms.out)
    share = partial(share_of_time, 60 * terms.minutes)
    with closing(Loop(network, course.standing, terms, timings)) as loop:
        for name, until, size in sizes(terms):
            if share(loop.standing) < until:
                batches = Batches(corpus, boxes, taught, size, terms.batch, terms.seed)
                loop.run(Stage(name, batches, share, until, warm_cosine(terms.rate)))
        return course.figures(loop, corpus, terms.size)


def share_of_time(seconds: float, standing: Standing) -> float:
    return standing.elapsed_s / seconds


def sizes(terms: Pretraining) -> list[tuple[str, float, int]]:
    """Name, until which share of the time, and side of the pictures; smaller ones first, where the network allows."""
    if terms.network != "tinyresnet":
        return [("train", 1.0, terms.size)]
    small = terms.size * 2 // 3
    return [(f"{small} px", SMALL_SHARE, small), (f"{terms.size} px", 1.0, terms.size)]


def new_backbone(terms: Pretraining) -> Any:
    if terms.network != "tinyresnet":
        return headless(Application(terms.network, "random", terms.alpha, terms.size, terms.seed))
    if terms.alpha is not None:
        raise ConfigError("tinyresnet comes in one width: leave --alpha away")
    return tiny_resnet()


def heads_for(corpus: Corpus, taught: Lessons | None) -> dict[str, int]:
    heads = {"classes": len(corpus.labels)}
    if taught:
        depth, scores = taught.teacher.weights.shape
        heads |= {"features": depth, "scores": scores}
    return heads
