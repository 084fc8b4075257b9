"""What every training of a network goes through: its checkpoint and device, its pictures, its figures."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from agent.reporting.timing import Timings
from agent.terminal import say
from trainer.making import checkpoint
from trainer.making.batches import validation_top1
from trainer.making.corpus import Corpus, read_corpus
from trainer.making.devices import prepare
from trainer.making.lessons import Lessons
from trainer.making.loop import Loop, Terms
from trainer.making.views import view_boxes

LOSS_WEIGHTS = {"features": 2.0, "scores": 2.0, "classes": 0.5}
WEIGHT_DECAY = 0.05


class Course:
    """One training, from its beginning: `standing` is where it is, earlier runs included."""

    def __init__(self, terms: Terms, timings: Timings) -> None:
        """Raises ConfigError for a checkpoint that is there and not to be resumed, or the other way round."""
        self.terms, self.timings = terms, timings
        self.standing = checkpoint.begun(terms.out, terms.resume)
        self.device, self.precision = prepare(terms.precision, terms.seed)

    def read(self, size: int) -> tuple[Corpus, NDArray[np.float32]]:
        """The pictures, for networks that take `size` pixels, and their views [N, views, 4]. Raises DatasetError."""
        self.standing.size = size
        corpus = read_corpus(self.terms.corpus, 2 * size)
        used = used_for(corpus)
        of_test = f" ({used['test']} of them named for testing)" if used["test"] else ""
        say(
            f"{used['train']} pictures of {len(corpus.labels)} classes to train on, "
            f"{used['val'] + used['test']} to validate by{of_test}, {corpus.unreadable} unreadable; "
            f"{keras.config.backend()} on {self.device.name} in {self.precision}"
        )
        return corpus, view_boxes(corpus.pictures, self.terms.views, self.terms.seed)

    def figures(self, loop: Loop, corpus: Corpus, size: int) -> dict[str, Any]:
        """What is to be known of a training that is over; its network is judged by the validation pictures."""
        if len(corpus.validation_rows):
            with self.timings.phase("compile", self.terms.batch):
                loop.network.predict_on_batch(np.zeros((self.terms.batch, size, size, 3), np.float32))
        with self.timings.phase("evaluate", len(corpus.validation_rows)):
            top1 = validation_top1(loop.network, corpus, size, self.terms.batch)
        loop.scalars.add({} if top1 is None else {"validation_top1": top1}, self.standing.step)
        return {
            "checkpoint": str(self.terms.out),
            "backend": keras.config.backend(),
            "device": self.device.name,
            "precision": self.precision,
            "parameters": loop.network.count_params(),
            "pictures": len(corpus.pictures),
            **used_for(corpus),
            "unreadable": corpus.unreadable,
            "classes": len(corpus.labels),
            "steps": self.standing.step,
            "pictures_seen": self.standing.pictures,
            "pictures_per_s": round(loop.pictures_per_s, 1),
            "waited_share": round(loop.waited_share, 4),
            "training_s": round(self.standing.elapsed_s, 1),
            "loss": loop.loss,
            "validation_top1": top1,
        }


def used_for(corpus: Corpus) -> dict[str, int]:
    """How many pictures are of which split: `val` and `test` are validated by, and nothing is learnt of them."""
    validation = len(corpus.validation_rows)
    return {"train": len(corpus.train_rows), "val": validation - corpus.test, "test": corpus.test}


def compiled(network: Any, rate: float, taught: Lessons | None = None) -> Any:
    """Ready for its loop: the corpus' classes are learnt, and where there is a teacher what it says too."""
    losses: dict[str, Any] = {"classes": keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)}
    if taught:
        losses |= {"features": "mse", "scores": keras.losses.CategoricalCrossentropy(from_logits=True)}
    optimizer = keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    network.compile(optimizer, loss=losses, loss_weights={name: LOSS_WEIGHTS[name] for name in losses})
    return network
