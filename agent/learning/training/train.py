"""Training: from cached examples to a head."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from agent.errors import TrainingError
from agent.learning.solving.head import Head, Targets
from agent.learning.solving.metrics import Evaluation
from agent.learning.training import fitting
from agent.learning.training.checkpoint import Checkpoint
from agent.learning.training.choosing import Candidate
from agent.learning.training.examples import (
    HELD_BACK,
    TRAIN,
    VAL,
    Examples,
    Rows,
    class_counts,
    in_memory,
    is_identified,
    rows_of,
)
from agent.learning.training.fitting import Fitted
from agent.learning.training.progress import CurvePoint, Progress, Watch
from agent.learning.training.settings import AUTO, Settings
from agent.learning.training.sums import Statistics
from agent.learning.training.trainingset import TrainingSet
from agent.learning.training.validation import evaluate_head
from agent.reporting.timing import Timer

log = logging.getLogger(__name__)

JUDGED_UPDATE = 2000  # validation examples on which an update is judged: all of them would cost more than the update


@dataclass(frozen=True, eq=False)
class Training:
    """A new head and how it came about."""

    head: Head
    settings: Settings
    solver: str  # what made the head, with its own settings: "lda, shrinkage 1"
    reason: str  # why that one, in a sentence
    curves: tuple[CurvePoint, ...]
    candidates: tuple[Candidate, ...]  # what `auto` compared, in that order
    validation: Evaluation | None  # on the validation examples; None where there are none
    examples: int  # trained on
    held_back: int  # examples that look like some of val or test, and neither train nor judge
    label_counts: dict[str, int]  # of those that are trained on
    untrained_labels: tuple[str, ...]  # labels that have examples, but none to train on: not in the head
    phases: dict[str, Any]  # phase: {"count", "images", "total_ms", "mean_ms"}

    def as_dict(self) -> dict[str, Any]:
        """Everything but the head, fit for JSON."""
        return {
            "solver": self.solver,
            "reason": self.reason,
            "settings": asdict(self.settings),
            "examples": self.examples,
            "held_back": self.held_back,
            "labels": self.label_counts,
            "untrained_labels": list(self.untrained_labels),
            "candidates": [asdict(candidate) for candidate in self.candidates],
            "curves": [asdict(point) for point in self.curves],
            "validation": None if self.validation is None else self.validation.as_dict(),
            "phases": self.phases,
        }


def train(
    source: Examples,
    settings: Settings = AUTO,
    timings: Timer | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    statistics: Statistics | None = None,
    checkpoint: Checkpoint | None = None,
) -> Training:
    """Train a head on the train rows of `source` and judge it on its val rows.

    The same source, settings and BLAS give the same head. `should_stop` is asked before every step. `statistics`
    of earlier trainings are brought up to date; where they allow it, `auto` reads no more than what has changed.
    With a `checkpoint` a long training that was killed goes on where it was.
    Raises TrainingError where fewer than two labels have examples to train on, where the learning rate
    is too high, and when it was stopped.
    """
    watch = Watch(timings, on_progress, should_stop, checkpoint)
    splits = np.asarray(source.splits)
    train_rows, val_rows = rows_of(splits, TRAIN), rows_of(splits, VAL)
    labels, targets = trained_classes(source, train_rows)
    if settings.solver != "auto" or statistics is None or not statistics.fits(source):
        statistics = None

    def training_set(source: Examples) -> TrainingSet:
        kept = None
        if statistics is not None and is_identified(source):
            kept = partial(statistics.follow, source, train_rows, labels, targets, watch)
        return TrainingSet(source, train_rows, targets, len(labels), settings.memory_bytes, watch, kept)

    examples = training_set(source)
    fitted = fitting.as_before(examples, labels, statistics) if statistics is not None else None
    if fitted is not None:
        return _training(examples, labels, _some(val_rows, JUDGED_UPDATE, settings.seed), settings, fitted)
    if is_identified(source):
        source.forget_frame_ids()
    examples = training_set(in_memory(source, settings.memory_bytes, watch.phases))
    return _training(examples, labels, val_rows, settings, fitting.fit(examples, val_rows, settings, statistics))


def _training(
    examples: TrainingSet, labels: tuple[str, ...], val_rows: Rows, settings: Settings, fitted: Fitted
) -> Training:
    """The head is judged on `val_rows`, as the last thing: its phases are in the report too."""
    source, watch = examples.source, examples.watch
    head = Head(labels, fitted.weights, fitted.bias, source.backbone_id)
    log.info("trained on %d examples of %d labels: %s", len(examples.rows), len(labels), fitted.reason)
    validation = evaluate_head(head, source, val_rows, watch) if len(val_rows) else None
    known = set(labels)
    return Training(
        head=head,
        settings=settings,
        solver=fitted.solver,
        reason=fitted.reason,
        curves=fitted.curves,
        candidates=fitted.candidates,
        validation=validation,
        examples=len(examples.rows),
        held_back=_held_back(source),
        label_counts=dict(zip(labels, examples.counts.tolist(), strict=True)),
        untrained_labels=tuple(label for label in source.labels if label not in known),
        phases=watch.phases.as_dict(),
    )


def _some(rows: Rows, most: int, seed: int) -> Rows:
    """As many of the rows, in their order."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _held_back(source: Examples) -> int:
    return int(np.count_nonzero(np.asarray(source.splits) == HELD_BACK))


def trained_classes(source: Examples, train_rows: Rows) -> tuple[tuple[str, ...], Targets]:
    """The labels that have examples to train on, and all targets as indices into those, -1 for the others."""
    counts = class_counts(source.targets, train_rows, len(source.labels))
    aside = _held_back(source)
    why = f"; {aside} are held back, because they look like examples of val or test" if aside else ""
    if not len(train_rows):
        raise TrainingError(f"there are no examples to train on: label some frames or learn a folder first{why}")
    present = np.flatnonzero(counts)
    if len(present) < 2:
        only = source.labels[int(present[0])]
        raise TrainingError(f"all examples to train on are labelled {only!r}: there must be at least two labels{why}")
    if len(present) == len(source.labels):
        return source.labels, source.targets
    index = np.full(len(source.labels), -1, np.int32)
    index[present] = np.arange(len(present), dtype=np.int32)
    return tuple(source.labels[k] for k in present.tolist()), index[source.targets]
