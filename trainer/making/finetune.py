"""Fits a network that was trained on something else to a corpus: first a new top on the frozen network, then all of it.

Batch normalizations keep the statistics that they came with (their scale and shift too), as a small corpus would spoil
them; only a network of random weights, which has none, trains them, and it has no first stage.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from agent.errors import ConfigError
from agent.reporting.timing import Timings
from agent.terminal import say
from trainer.making import checkpoint
from trainer.making.batches import Batches, validation_top1
from trainer.making.corpus import read_corpus
from trainer.making.devices import Precision, prepare
from trainer.making.fitting import Fit, Running, Stage, warm_cosine
from trainer.making.pretrain import compiled, figures
from trainer.making.scalars import Scalars
from trainer.making.views import view_boxes
from trainer.networks.loading import Network, Wanted, open_network

DROPOUT = 0.2


@dataclass(frozen=True)
class Recipe:
    wanted: Wanted
    corpus: Path
    out: Path  # *.keras
    top_epochs: int = 2  # of the new top alone
    epochs: int = 5  # of all of it
    top_rate: float = 1e-3  # the highest learning rate of each
    rate: float = 1e-4
    batch: int = 64
    views: int = 3
    workers: int = 1
    precision: Precision = "auto"
    checkpoint_s: float = 120.0
    tensorboard: Path | None = None
    resume: bool = False


@dataclass(frozen=True)
class Part:
    """One of the two: its steps are [begin, end) of `total`."""

    name: str
    begin: int
    end: int
    total: int
    rate: float

    def stage(self, batches: Batches) -> Stage:
        begin, until = self.begin / self.total, self.end / self.total
        return Stage(
            self.name, batches, lambda progress: progress.step / self.total, until, warm_cosine(self.rate, begin, until)
        )


def finetune(recipe: Recipe, timings: Timings) -> dict[str, Any]:
    """Trains top and network; returns figures.

    Raises ConfigError (what was asked for), BundleError (the network), DatasetError (the corpus), TrainingError (the
    loss is no number) or StateError (the checkpoint cannot be written).
    """
    if Path(recipe.wanted.source).is_dir():
        raise ConfigError(f"{recipe.wanted.source} is a SavedModel, which has no layers to train: give a .keras file")
    progress = checkpoint.begun(recipe.out, recipe.resume)
    where, precision = prepare(recipe.precision, recipe.wanted.seed)
    opened = open_network(recipe.wanted)
    if opened.height != opened.width:
        raise ConfigError(f"{recipe.wanted.source} takes {opened.width} x {opened.height}; only squares are trained")
    corpus = read_corpus(recipe.corpus, 2 * opened.height)
    say(
        f"{len(corpus.pictures)} pictures of {len(corpus.labels)} classes, {corpus.unreadable} unreadable; "
        f"{keras.config.backend()} on {where.name} in {precision}"
    )
    network, features = with_top(opened, len(corpus.labels))
    boxes = view_boxes(corpus.pictures, recipe.views, recipe.wanted.seed)
    batches = Batches(corpus, boxes, None, opened.height, recipe.batch, recipe.wanted.seed)
    with Scalars(recipe.tensorboard) as scalars:
        running = Running(recipe.out, recipe.workers, recipe.checkpoint_s, timings, scalars)
        fit = Fit(network, progress, running)
        train_parts(recipe, opened, fit, features, batches)
        with timings.phase("evaluate", len(corpus.validation_rows)):
            top1 = validation_top1(network, corpus, opened.height, recipe.batch)
        scalars.add({} if top1 is None else {"validation_top1": top1}, progress.step)
    return figures(fit, corpus, where, precision) | {"validation_top1": top1}


def train_parts(recipe: Recipe, opened: Network, fit: Fit, features: Any, batches: Batches) -> None:
    resumed = recipe.resume
    for part in parts(recipe, batches.steps, opened.is_random):
        if fit.progress.step >= part.end and part.end < part.total:
            continue
        freeze(features, all_of_it=part.name == "top", norms=not opened.is_random)
        compiled(fit.network, part.rate)
        if resumed and fit.progress.step > part.begin:
            checkpoint.restore(fit.network, recipe.out)
        elif resumed:  # the part before was over: its weights, and an optimizer that begins anew
            fit.network.load_weights(recipe.out, skip_mismatch=True)
        resumed = False
        fit.run(part.stage(batches))


def parts(recipe: Recipe, steps: int, is_random: bool) -> list[Part]:
    """`steps` make an epoch."""
    top = 0 if is_random else recipe.top_epochs * steps
    total = top + recipe.epochs * steps
    if not total:
        raise ConfigError("--top-epochs 0 --epochs 0: there is nothing to train")
    both = [Part("top", 0, top, total, recipe.top_rate), Part("all", top, total, total, recipe.rate)]
    return [part for part in both if part.begin < part.end]


def with_top(opened: Network, classes: int) -> tuple[Any, Any]:
    """Image → {"classes": logits [B, K]}, and the network below its new top."""
    features = opened.model
    bottleneck = (
        keras.layers.GlobalAveragePooling2D(name="pooled")(features.output[-1]) if opened.tapped else features.output
    )
    dropped = keras.layers.Dropout(DROPOUT, name="dropout")(bottleneck)
    # float32 in every precision: a softmax in 16 bits loses digits.
    logits = keras.layers.Dense(classes, dtype="float32", name="classes")(dropped)
    return keras.Model(features.input, {"classes": logits}, name="finetuned"), features


def freeze(features: Any, *, all_of_it: bool, norms: bool) -> None:
    features.trainable = not all_of_it
    if not all_of_it and norms:
        for layer in features._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
