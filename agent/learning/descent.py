"""Training by mini-batches, with curves and, if asked for, early stopping."""

import math
import time
from dataclasses import dataclass

import numpy as np

from agent.errors import TrainingError
from agent.learning.closed_form import Standardisation
from agent.learning.head import Float32
from agent.learning.progress import CurvePoint, Progress
from agent.learning.solvers import SoftmaxStep, Solver
from agent.learning.trainingset import TrainingSet
from agent.learning.validation import Judge


@dataclass(frozen=True, slots=True)
class Descent:
    stage: str  # for progress reports
    solver: Solver  # fresh: it remembers its steps
    batch: int
    steps: int
    validate_every: int
    seed: int
    patience: int | None = None  # stop after so many validations without a better one, and take the best


@dataclass(frozen=True, slots=True)
class Descended:
    weights: Float32  # [D, K], for raw bottlenecks
    bias: Float32
    steps: int  # that led to these
    curves: tuple[CurvePoint, ...]


def descend(
    examples: TrainingSet, standardisation: Standardisation, descent: Descent, judge: Judge | None
) -> Descended:
    """Without patience the head after the last step, otherwise that of the best validation: top-1, then loss.

    Raises TrainingError where the loss grows beyond all bounds.
    """
    watch, targets = examples.watch, examples.targets
    batch = min(descent.batch, len(examples.rows))
    step = SoftmaxStep(examples.source.size, examples.classes, batch, descent.solver, *standardisation)
    course = _Course(descent, standardisation, judge)
    epoch_began = time.monotonic()
    for number, (raw, rows, ends_epoch) in enumerate(examples.shuffled.batches(batch, descent.seed), start=1):
        watch.check()
        with watch.phases.phase("training", images=len(rows)), np.errstate(over="ignore", invalid="ignore"):
            loss, right = step(raw, targets[rows])
        if not math.isfinite(loss):
            raise TrainingError(f"the loss was not finite any more after {number} steps: lower the learning rate")
        course.went(loss, right, len(rows))
        if number % descent.validate_every == 0 or number == descent.steps:
            course.validate(number, step.parameters)
            watch.progress(Progress(descent.stage, number, descent.steps, course.curves[-1]))
        if ends_epoch:
            now = time.monotonic()
            watch.phases.add("epoch", (now - epoch_began) * 1000, images=len(examples.rows))
            epoch_began = now
        if number == descent.steps or course.is_over:
            break
    return course.result()


class _Course:
    """The curves of a descent and the best head on its way."""

    def __init__(self, descent: Descent, standardisation: Standardisation, judge: Judge | None) -> None:
        self.curves: list[CurvePoint] = []
        self._patience = descent.patience if judge is not None else None
        self._standardisation = standardisation
        self._judge = judge
        self._losses: list[float] = []
        self._right = self._seen = 0
        self._taken: tuple[Float32, Float32, int] | None = None  # weights, bias, steps
        self._taken_key = (-1.0, 0.0)
        self._without_better = 0

    @property
    def is_over(self) -> bool:
        return self._patience is not None and self._without_better >= self._patience

    def went(self, loss: float, right: int, images: int) -> None:
        self._losses.append(loss)
        self._right += right
        self._seen += images

    def validate(self, number: int, parameters: Float32) -> None:
        weights, bias = self._standardisation.folded(parameters[:-1], parameters[-1])
        scores = self._judge.scores(weights, bias) if self._judge is not None else None
        top1, top5 = (scores.top1, scores.top5) if scores else (None, None)
        loss, train_top1 = sum(self._losses) / len(self._losses), self._right / self._seen
        self.curves.append(CurvePoint(number, loss, train_top1, top1, top5))
        self._losses, self._right, self._seen = [], 0, 0
        key = (scores.top1, -scores.loss) if scores else (0.0, 0.0)
        self._without_better += 1
        if self._patience is None or key > self._taken_key:
            self._taken, self._taken_key = (weights, bias, number), key
            self._without_better = 0

    def result(self) -> Descended:
        assert self._taken is not None  # the last step is always validated
        return Descended(*self._taken, tuple(self.curves))
