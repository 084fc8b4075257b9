"""Training by mini-batches, with curves and, if asked for, early stopping."""

import hashlib
import logging
import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agent.errors import TrainingError
from agent.learning.solving.head import Float32
from agent.learning.solving.moments import Standardisation
from agent.learning.solving.solvers import SoftmaxStep, Solver
from agent.learning.training.checkpoint import Checkpoint
from agent.learning.training.examples import is_identified
from agent.learning.training.progress import CurvePoint, Progress
from agent.learning.training.trainingset import TrainingSet
from agent.learning.training.validation import Judge

log = logging.getLogger(__name__)

_IDENTIFIED_ROWS = 1 << 16  # at once


@dataclass(frozen=True, slots=True)
class Descent:
    stage: str  # for progress reports
    solver: Solver  # fresh: it remembers its steps
    batch: int
    steps: int
    validate_every: int
    seed: int
    patience: int | None = None  # stop after so many validations without a better one, and take the best

    def settings(self) -> tuple[Any, ...]:
        """All that says where it leads."""
        solver = {name: value for name, value in vars(self.solver).items() if isinstance(value, float)}
        fixed = self.stage, self.batch, self.steps, self.validate_every, self.seed, self.patience
        return *fixed, type(self.solver).__name__, solver


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
    identity = _identity(examples, standardisation, descent)
    done = _resume(watch.checkpoint, identity, step, descent.solver, course) if watch.checkpoint else 0
    epoch_began = time.monotonic()
    batches = examples.shuffled.batches(batch, descent.seed, skip=done)
    for number, (raw, rows, ends_epoch) in enumerate(batches, start=done + 1):
        watch.check()
        with watch.phases.phase("training", images=len(rows)), np.errstate(over="ignore", invalid="ignore"):
            loss, right = step(raw, targets[rows])
        if not math.isfinite(loss):
            raise TrainingError(f"the loss was not finite any more after {number} steps: lower the learning rate")
        course.went(loss, right, len(rows))
        if number % descent.validate_every == 0 or number == descent.steps:
            course.validate(number, step.parameters)
            watch.progress(Progress(descent.stage, number, descent.steps, course.curves[-1], done))
        if ends_epoch:
            now = time.monotonic()
            watch.phases.add("epoch", (now - epoch_began) * 1000, images=len(examples.rows))
            epoch_began = now
        if number == descent.steps or course.is_over:
            break
        if watch.checkpoint and watch.checkpoint.is_due:
            header = {"step": number, "course": course.header()}
            arrays = {"parameters": step.parameters, **descent.solver.state(), **course.arrays()}
            watch.checkpoint.save(identity, header, arrays)
    return course.result()


def _resume(checkpoint: Checkpoint, identity: str, step: SoftmaxStep, solver: Solver, course: "_Course") -> int:
    """How many steps were done before a kill; everything is as it was then."""
    found = checkpoint.load(identity)
    if found is None:
        return 0
    header, arrays = found
    step.parameters[:] = arrays["parameters"]
    solver.restore(arrays)
    course.restore(header["course"], arrays)
    log.info("goes on after step %d", header["step"])
    return int(header["step"])


def _identity(examples: TrainingSet, standardisation: Standardisation, descent: Descent) -> str:
    """Of the descent and all that it depends on."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr([descent.settings(), examples.source.backbone_id]).encode())
    for array in standardisation:
        digest.update(np.ascontiguousarray(array).data)
    frame_ids = examples.source.frame_ids if is_identified(examples.source) else None
    for first in range(0, len(examples.rows), _IDENTIFIED_ROWS):
        rows = examples.rows[first : first + _IDENTIFIED_ROWS]
        digest.update(rows.data)
        digest.update(examples.targets[rows].data)
        if frame_ids is not None:
            digest.update(frame_ids[rows].data)
    return digest.hexdigest()


class _Course:
    """The curves of a descent and the best head on its way."""

    def __init__(self, descent: Descent, standardisation: Standardisation, judge: Judge | None) -> None:
        self.curves: list[CurvePoint] = []
        self._patience = descent.patience if judge is not None else None
        self._standardisation = standardisation
        self._judge = judge
        self._loss = 0.0  # these four: since the point before
        self._steps = self._right = self._seen = 0
        self._taken: tuple[Float32, Float32, int] | None = None  # weights, bias, steps
        self._taken_key = (-1.0, 0.0)
        self._without_better = 0

    @property
    def is_over(self) -> bool:
        return self._patience is not None and self._without_better >= self._patience

    def went(self, loss: float, right: int, images: int) -> None:
        self._loss += loss
        self._steps += 1
        self._right += right
        self._seen += images

    def validate(self, number: int, parameters: Float32) -> None:
        weights, bias = self._standardisation.folded(parameters[:-1], parameters[-1])
        scores = self._judge.scores(weights, bias) if self._judge is not None else None
        top1, top5 = (scores.top1, scores.top5) if scores else (None, None)
        self.curves.append(CurvePoint(number, self._loss / self._steps, self._right / self._seen, top1, top5))
        self._loss, self._steps, self._right, self._seen = 0.0, 0, 0, 0
        key = (scores.top1, -scores.loss) if scores else (0.0, 0.0)
        self._without_better += 1
        if self._patience is None or key > self._taken_key:
            self._taken, self._taken_key = (weights, bias, number), key
            self._without_better = 0

    def header(self) -> dict[str, Any]:
        """What a checkpoint keeps of it, beside `arrays`."""
        return {
            "curves": [asdict(point) for point in self.curves],
            "since": [self._loss, self._steps, self._right, self._seen],
            "taken": None if self._taken is None else self._taken[2],
            "taken_key": self._taken_key,
            "without_better": self._without_better,
        }

    def arrays(self) -> dict[str, Any]:
        if self._taken is None or self._patience is None:  # without patience it is that of the last step
            return {}
        return {"weights": self._taken[0], "bias": self._taken[1]}

    def restore(self, header: dict[str, Any], arrays: dict[str, Any]) -> None:
        self.curves = [CurvePoint(**point) for point in header["curves"]]
        self._loss, self._steps, self._right, self._seen = header["since"]
        if "weights" in arrays:
            self._taken = arrays["weights"], arrays["bias"], header["taken"]
        self._taken_key = tuple(header["taken_key"])
        self._without_better = header["without_better"]

    def result(self) -> Descended:
        assert self._taken is not None  # the last step is always validated
        return Descended(*self._taken, tuple(self.curves))
