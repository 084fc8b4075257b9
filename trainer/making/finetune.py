"""Fits a network that was trained on something else to a corpus: first a new top on the frozen network, then all of it.

Batch normalizations keep the statistics that they came with (their scale and shift too), as a small corpus would spoil
them; only a network of random weights, which has none, trains them, and it has no first stage.
"""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from agent.errors import ConfigError
from agent.reporting.timing import Timings
from trainer.making import checkpoint
from trainer.making.batches import Batches
from trainer.making.course import Course, compiled
from trainer.making.loop import Loop, Stage, Terms, warm_cosine
from trainer.networks.loading import Network, Wanted, open_network

DROPOUT = 0.2


@dataclass(frozen=True, kw_only=True)
class Finetuning(Terms):
    network: Wanted
    top_epochs: int = 2  # of the new top alone
    epochs: int = 5  # of all of it
    top_rate: float = 1e-3  # the highest learning rate of each
    rate: float = 1e-4
    batch: int = 64


@dataclass(frozen=True)
class Half:
    """One of the two: its steps are [begin, end) of `total`."""

    name: str
    begin: int
    end: int
    total: int
    rate: float

    def stage(self, batches: Batches) -> Stage:
        begin, until = self.begin / self.total, self.end / self.total
        return Stage(
            self.name, batches, lambda standing: standing.step / self.total, until, warm_cosine(self.rate, begin, until)
        )


def finetune(terms: Finetuning, timings: Timings) -> dict[str, Any]:
    """Trains top and network; returns figures.

    Raises ConfigError (what was asked for), BundleError (the network), DatasetError (the corpus), TrainingError (the
    loss is no number) or StateError (the checkpoint cannot be written).
    """
    source = terms.network.source
    if Path(source).is_dir():
        raise ConfigError(f"{source} is a bundle or a SavedModel, which has no layers to train: give a .keras file")
    course = Course(terms, timings)
    opened = open_network(terms.network)
    if opened.height != opened.width:
        raise ConfigError(f"{source} takes {opened.width} x {opened.height}; only squares are trained")
    corpus, boxes = course.read(opened.height)
    network, features = with_top(opened, len(corpus.labels))
    batches = Batches(corpus, boxes, None, opened.height, terms.batch, terms.seed)
    with closing(Loop(network, course.standing, terms, timings)) as loop:
        train_halves(terms, opened, loop, features, batches)
        return course.figures(loop, corpus, opened.height)


def train_halves(terms: Finetuning, opened: Network, loop: Loop, features: Any, batches: Batches) -> None:
    resumed = terms.resume
    for half in halves(terms, batches.steps, opened.is_random):
        if loop.standing.step >= half.end and half.end < half.total:
            continue
        freeze(features, all_of_it=half.name == "top", norms=not opened.is_random)
        compiled(loop.network, half.rate)
        if resumed and loop.standing.step > half.begin:
            checkpoint.restore(loop.network, terms.out)
        elif resumed:  # the half before was over: its weights, and an optimizer that begins anew
            loop.network.load_weights(terms.out, skip_mismatch=True)
        resumed = False
        loop.run(half.stage(batches))


def halves(terms: Finetuning, steps: int, is_random: bool) -> list[Half]:
    """`steps` make an epoch."""
    top = 0 if is_random else terms.top_epochs * steps
    total = top + terms.epochs * steps
    if not total:
        raise ConfigError("--top-epochs 0 --epochs 0: there is nothing to train")
    both = [Half("top", 0, top, total, terms.top_rate), Half("all", top, total, total, terms.rate)]
    return [half for half in both if half.begin < half.end]


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
