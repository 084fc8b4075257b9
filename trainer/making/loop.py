"""The loop of every training: batches made ahead, steps, learning rates by a schedule, checkpoints, curves.

Keras' own fit is not used, because here two things must be known that it hides: how long the device waited for its
input, and where exactly a training stands, so that one that was killed goes on with the very next batch.
"""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from agent.errors import ConfigError, StateError, TrainingError
from agent.reporting.timing import Timings
from agent.terminal import say
from trainer.making import checkpoint
from trainer.making.batches import Batch, Prefetched
from trainer.making.checkpoint import Standing
from trainer.making.devices import Precision

LOOK_S = 5.0  # between two looks at the loss
LINE_S = 30.0  # between two lines where there is no terminal
MUCH_WAITING = 0.2  # share of the time
WARM_UP = 0.03  # of a stage
BAR = "{desc} {percentage:5.1f}% |{bar}| {elapsed}<{remaining}{postfix}"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """On which terms a network is trained, whatever it is and however it learns."""

    corpus: Path
    out: Path  # the checkpoint, *.keras
    batch: int
    views: int = 3  # crops of every picture that are drawn once and for all
    seed: int = 0
    workers: int = 1  # threads that make batches
    precision: Precision = "auto"
    checkpoint_s: float = 120.0
    tensorboard: Path | None = None
    resume: bool = False


@dataclass(frozen=True)
class Stage:
    """A part of a training: until `share` of all of it has gone."""

    name: str
    batches: Callable[[int], Batch]  # the number of a step → its batch
    share: Callable[[Standing], float]  # of the whole training that has gone, 0..1
    until: float
    rate: Callable[[float], float]  # share → learning rate


def warm_cosine(peak: float, begin: float = 0.0, end: float = 1.0) -> Callable[[float], float]:
    """Linear warm-up, then a cosine to nought, between two shares of a training."""

    def rate(share: float) -> float:
        gone = min(1.0, max(0.0, (share - begin) / (end - begin)))
        return peak * min(1.0, gone / WARM_UP + 0.01) * 0.5 * (1 + math.cos(math.pi * gone))

    return rate


class Scalars:
    """Curves for TensorBoard below a folder, or nothing where there is none; it needs no TensorFlow for that."""

    def __init__(self, folder: Path | None) -> None:
        """Raises ConfigError where tensorboard is not installed or the folder cannot be written."""
        self._writer: Any = None
        if folder is None:
            return
        try:
            from tensorboard.summary import Writer

            self._writer = Writer(str(folder))
        except ImportError as error:
            raise ConfigError("--tensorboard needs tensorboard: pip install tensorboard") from error
        except OSError as error:
            raise ConfigError(f"--tensorboard {folder} cannot be written: {error.strerror}") from error

    def add(self, values: Mapping[str, float], step: int) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
            self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class Loop:
    """The steps of a compiled network; to be closed, as it holds its curves open.

    `waited_share` is the share of its time that the device had no input.
    """

    def __init__(self, network: Any, standing: Standing, terms: Terms, timings: Timings) -> None:
        """Raises ConfigError where the curves cannot be written."""
        self.network, self.standing = network, standing
        self.loss = math.nan
        self.pictures_per_s = 0.0
        self.scalars = Scalars(terms.tensorboard)
        self._terms, self._timings = terms, timings
        self._waited_s = self._stepped_s = 0.0
        self._written = time.monotonic()

    def close(self) -> None:
        self.scalars.close()

    @property
    def waited_share(self) -> float:
        return self._waited_s / max(self._waited_s + self._stepped_s, 1e-9)

    def run(self, stage: Stage) -> None:
        """Trains until the stage is over; the checkpoint is written at its end, and when it is interrupted.

        Raises TrainingError where the loss is not finite, StateError where the last checkpoint cannot be written.
        """
        with (
            closing(Prefetched(stage.batches, self.standing.step, self._terms.workers)) as batches,
            tqdm(total=100.0, desc=stage.name, bar_format=BAR, disable=None) as bar,
        ):
            try:
                self._steps(stage, batches, bar)
            except KeyboardInterrupt as interrupt:
                checkpoint.write(self.network, self._terms.out, self.standing)
                raise KeyboardInterrupt(
                    f"{self._terms.out} holds what was learnt so far: --resume goes on with it"
                ) from interrupt
        checkpoint.write(self.network, self._terms.out, self.standing)
        if self.waited_share > MUCH_WAITING:
            say(f"NOTE: the device waited {self.waited_share:.0%} of the time for pictures: more --workers may help")

    def _steps(self, stage: Stage, batches: Prefetched[Batch], bar: Any) -> None:
        looked = said = mark = time.monotonic()
        seen, first = 0, True
        while (share := stage.share(self.standing)) < stage.until:
            count, logs = self._step(batches, stage.rate(share), first)
            now = time.monotonic()
            self.standing.elapsed_s += 0.0 if first else now - mark  # the first compiles
            mark, seen, first = now, seen + count, False
            if now - looked < LOOK_S and stage.share(self.standing) < stage.until:
                continue
            self._look(stage, logs, seen / max(now - looked, 1e-9))
            bar.update(100 * stage.share(self.standing) - bar.n)
            bar.set_postfix_str(self._text(logs), refresh=False)
            if bar.disable and (now - said >= LINE_S or stage.share(self.standing) >= stage.until):
                say(f"{stage.name} {100 * stage.share(self.standing):5.1f} %  {self._text(logs)}")
                said = now
            self._checkpoint_if_due(now)
            looked = time.monotonic()
            mark, seen = looked, 0

    def _step(self, batches: Prefetched[Batch], rate: float, first: bool) -> tuple[int, dict[str, float]]:
        self.network.optimizer.learning_rate = rate
        with self._timings.phase("input", 1) as waiting:
            images, targets = batches.next()
        with self._timings.phase("compile" if first else "step", len(images)) as step:
            logs = self.network.train_on_batch(images, targets, return_dict=True)
        if not first:
            self._waited_s += waiting.ms / 1000
            self._stepped_s += step.ms / 1000
        self.standing.step += 1
        self.standing.pictures += len(images)
        return len(images), logs

    def _look(self, stage: Stage, logs: dict[str, float], pictures_per_s: float) -> None:
        self.loss, self.pictures_per_s = float(logs["loss"]), pictures_per_s
        if not math.isfinite(self.loss):
            raise TrainingError(
                f"the loss is {self.loss} at step {self.standing.step}: take a lower --rate, or --precision float32; "
                f"{self._terms.out} holds the last checkpoint"
            )
        self.scalars.add(
            {name: float(value) for name, value in logs.items()}
            | {
                "learning_rate": float(self.network.optimizer.learning_rate),
                "pictures_per_s": pictures_per_s,
                "waited_share": self.waited_share,
            },
            self.standing.step,
        )
        self.network.reset_metrics()

    def _text(self, logs: dict[str, float]) -> str:
        losses = "  ".join(f"{name.removesuffix('_loss')} {float(value):.3f}" for name, value in logs.items())
        return f"{self.pictures_per_s:5.0f} pictures/s  waited {self.waited_share:.0%}  {losses}"

    def _checkpoint_if_due(self, now: float) -> None:
        if now - self._written < self._terms.checkpoint_s:
            return
        self._written = now
        try:
            checkpoint.write(self.network, self._terms.out, self.standing)
        except StateError as error:  # the training is worth more than this one checkpoint
            say(f"NOTE: {error}; the training goes on, and the one before is kept")
