"""The loop of every training: batches made ahead, steps, learning rates by a schedule, checkpoints, curves.

Keras' own fit is not used, because here two things must be known that it hides: how long the device waited for its
input, and where exactly a training stands, so that one that was killed goes on with the very next batch.
"""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from agent.errors import StateError, TrainingError
from agent.reporting.timing import Timings
from agent.terminal import say
from trainer.making import checkpoint
from trainer.making.checkpoint import Progress
from trainer.making.prefetch import Prefetched
from trainer.making.scalars import Scalars

LOOK_S = 5.0  # between two looks at the loss
LINE_S = 30.0  # between two lines where there is no terminal
MUCH_WAITING = 0.2  # share of the time
WARM_UP = 0.03  # of a stage
BAR = "{desc} {percentage:5.1f}% |{bar}| {elapsed}<{remaining}{postfix}"

Batch = tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]  # images [B, H, W, 3] of 0..255, targets


@dataclass(frozen=True)
class Stage:
    """A part of a training: until `share` of all of it has gone."""

    name: str
    batches: Callable[[int], Batch]  # the number of a step → its batch
    share: Callable[[Progress], float]  # of the whole training that has gone, 0..1
    until: float
    rate: Callable[[float], float]  # share → learning rate


@dataclass(frozen=True)
class Running:
    """What a training runs with."""

    out: Path
    workers: int
    checkpoint_s: float
    timings: Timings
    scalars: Scalars


def warm_cosine(peak: float, begin: float = 0.0, end: float = 1.0) -> Callable[[float], float]:
    """Linear warm-up, then a cosine to nought, between two shares of a training."""

    def rate(share: float) -> float:
        gone = min(1.0, max(0.0, (share - begin) / (end - begin)))
        return peak * min(1.0, gone / WARM_UP + 0.01) * 0.5 * (1 + math.cos(math.pi * gone))

    return rate


class Fit:
    """One training of a compiled network. `waited_share` is the share of its time that the device had no input."""

    def __init__(self, network: Any, progress: Progress, running: Running) -> None:
        self.network, self.progress, self.running = network, progress, running
        self.loss = math.nan
        self.pictures_per_s = 0.0
        self._waited_s = self._stepped_s = 0.0
        self._written = time.monotonic()

    @property
    def waited_share(self) -> float:
        return self._waited_s / max(self._waited_s + self._stepped_s, 1e-9)

    def run(self, stage: Stage) -> None:
        """Trains until the stage is over; the checkpoint is written at its end, and when it is interrupted.

        Raises TrainingError where the loss is not finite, StateError where the last checkpoint cannot be written.
        """
        shown = sys.stderr.isatty()
        with (
            Prefetched(stage.batches, self.progress.step, self.running.workers) as batches,
            tqdm(total=100.0, desc=stage.name, bar_format=BAR, file=sys.stderr, disable=not shown) as bar,
        ):
            try:
                self._steps(stage, batches, bar)
            except KeyboardInterrupt:
                checkpoint.write(self.network, self.running.out, self.progress)
                say(f"{self.running.out} holds what was learnt so far: --resume goes on with it")
                raise
        checkpoint.write(self.network, self.running.out, self.progress)
        if self.waited_share > MUCH_WAITING:
            say(f"NOTE: the device waited {self.waited_share:.0%} of the time for pictures: more --workers may help")

    def _steps(self, stage: Stage, batches: Prefetched[Batch], bar: Any) -> None:
        looked = said = mark = time.monotonic()
        seen, first = 0, True
        while (share := stage.share(self.progress)) < stage.until:
            count, logs = self._step(batches, stage.rate(share), first)
            now = time.monotonic()
            self.progress.elapsed_s += 0.0 if first else now - mark  # the first compiles
            mark, seen, first = now, seen + count, False
            if now - looked < LOOK_S and stage.share(self.progress) < stage.until:
                continue
            self._look(stage, logs, seen / max(now - looked, 1e-9))
            bar.update(100 * stage.share(self.progress) - bar.n)
            bar.set_postfix_str(self._text(logs), refresh=False)
            if bar.disable and (now - said >= LINE_S or stage.share(self.progress) >= stage.until):
                say(f"{stage.name} {100 * stage.share(self.progress):5.1f} %  {self._text(logs)}")
                said = now
            self._checkpoint_if_due(now)
            looked = time.monotonic()
            mark, seen = looked, 0

    def _step(self, batches: Prefetched[Batch], rate: float, first: bool) -> tuple[int, dict[str, float]]:
        timings = self.running.timings
        self.network.optimizer.learning_rate = rate
        with timings.phase("input", 1) as waiting:
            images, targets = batches.next()
        with timings.phase("step", len(images)) as step:
            logs = self.network.train_on_batch(images, targets, return_dict=True)
        if not first:
            self._waited_s += waiting.ms / 1000
            self._stepped_s += step.ms / 1000
        self.progress.step += 1
        self.progress.pictures += len(images)
        return len(images), logs

    def _look(self, stage: Stage, logs: dict[str, float], pictures_per_s: float) -> None:
        self.loss, self.pictures_per_s = float(logs["loss"]), pictures_per_s
        if not math.isfinite(self.loss):
            raise TrainingError(
                f"the loss is {self.loss} at step {self.progress.step}: take a lower --rate, or --precision float32; "
                f"{self.running.out} holds the last checkpoint"
            )
        self.running.scalars.add(
            {name: float(value) for name, value in logs.items()}
            | {
                "learning_rate": float(self.network.optimizer.learning_rate),
                "pictures_per_s": pictures_per_s,
                "waited_share": self.waited_share,
            },
            self.progress.step,
        )
        self.network.reset_metrics()

    def _text(self, logs: dict[str, float]) -> str:
        losses = "  ".join(f"{name.removesuffix('_loss')} {float(value):.3f}" for name, value in logs.items())
        return f"{self.pictures_per_s:5.0f} pictures/s  waited {self.waited_share:.0%}  {losses}"

    def _checkpoint_if_due(self, now: float) -> None:
        if now - self._written < self.running.checkpoint_s:
            return
        self._written = now
        try:
            checkpoint.write(self.network, self.running.out, self.progress)
        except StateError as error:  # the training is worth more than this one checkpoint
            say(f"NOTE: {error}; the training goes on, and the one before is kept")
