"""Training: from cached examples to a head."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from agent.errors import ConfigError, TrainingError
from agent.learning import automatic
from agent.learning.checkpoint import Checkpoint
from agent.learning.closed_form import Standardisation
from agent.learning.descent import Descent, descend
from agent.learning.examples import TRAIN, VAL, Examples, Rows, Targets, in_memory, is_identified
from agent.learning.head import Float32, Head
from agent.learning.metrics import Evaluation
from agent.learning.progress import CurvePoint, Progress, Watch
from agent.learning.solvers import SGD, Adam, Solver
from agent.learning.statistics import Statistics
from agent.learning.trainingset import TrainingSet
from agent.learning.validation import Judge, evaluate_head
from agent.reporting.timing import Timer

log = logging.getLogger(__name__)

JUDGED_UPDATE = 2000  # validation examples on which an update is judged: all of them would cost more than the update


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train. Raises ConfigError for values that make no sense.

    `auto` needs no setting; it heeds batch, seed and memory_bytes only. The others are for `adam` and
    `sgd`, and their defaults are the study's: 10,000 steps of Adam, on bottlenecks as they are.
    """

    solver: Literal["auto", "adam", "sgd"] = "auto"
    learning_rate: float = 0.01
    epsilon: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    batch: int = 100
    steps: int = 10_000
    validate_every: int = 500
    standardise: bool = False
    seed: int = 0
    memory_bytes: int = 32 << 20  # of bottlenecks that are kept in memory; more are streamed

    def __post_init__(self) -> None:
        if self.solver not in ("auto", "adam", "sgd"):
            raise ConfigError(f"solver: {self.solver!r} is unknown; there are auto, adam and sgd")
        for name in ("batch", "steps", "validate_every", "memory_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: must be at least 1, not {getattr(self, name)}")
        for name in ("learning_rate", "epsilon"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name}: must be above 0, not {getattr(self, name)}")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}: must be at least 0 and below 1, not {getattr(self, name)}")
        if not 0 <= self.weight_decay * self.learning_rate < 1:
            raise ConfigError(f"weight_decay: must be at least 0 and below 1 / learning_rate, not {self.weight_decay}")
        if self.seed < 0:
            raise ConfigError(f"seed: must be at least 0, not {self.seed}")


STUDY = Settings(solver="adam")


@dataclass(frozen=True, eq=False)
class Training:
    """A new head and how it came about."""

    head: Head
    settings: Settings
    solver: str  # what made the head, with its own settings: "lda, shrinkage 1"
    reason: str  # why that one, in a sentence
    curves: tuple[CurvePoint, ...]
    candidates: tuple[automatic.Candidate, ...]  # what `auto` compared, in that order
    validation: Evaluation | None  # on the validation examples; None where there are none
    examples: int  # trained on
    label_counts: dict[str, int]  # of those
    untrained_labels: tuple[str, ...]  # labels that have examples, but none to train on: not in the head
    phases: dict[str, Any]  # phase: {"count", "images", "total_ms", "mean_ms"}

    def as_dict(self) -> dict[str, Any]:
        """Everything but the head, fit for JSON."""
        return {
            "solver": self.solver,
            "reason": self.reason,
            "settings": asdict(self.settings),
            "examples": self.examples,
            "labels": self.label_counts,
            "untrained_labels": list(self.untrained_labels),
            "candidates": [asdict(candidate) for candidate in self.candidates],
            "curves": [asdict(point) for point in self.curves],
            "validation": None if self.validation is None else self.validation.as_dict(),
            "phases": self.phases,
        }


@dataclass(frozen=True, slots=True)
class _Fitted:
    weights: Float32  # [D, K], for raw bottlenecks
    bias: Float32
    solver: str
    reason: str
    curves: tuple[CurvePoint, ...]
    candidates: tuple[automatic.Candidate, ...] = ()


def train(
    source: Examples,
    settings: Settings = Settings(),
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
    train_rows = np.flatnonzero(splits == TRAIN)
    val_rows = np.flatnonzero(splits == VAL)
    labels, targets = _trained_classes(source, train_rows)
    if settings.solver != "auto" or statistics is None or not statistics.fits(source):
        statistics = None

    def training_set(source: Examples) -> TrainingSet:
        kept = None
        if statistics is not None and is_identified(source):
            kept = partial(statistics.follow, source, train_rows, labels, targets, watch)
        return TrainingSet(source, train_rows, targets, len(labels), settings.memory_bytes, watch, kept)

    examples = training_set(source)
    fitted = _updated(examples, statistics) if statistics is not None else None
    if fitted is not None:
        val_rows = _some(val_rows, JUDGED_UPDATE, settings.seed)
    else:
        source = in_memory(source, settings.memory_bytes, watch.phases)
        examples = training_set(source)
        if settings.solver == "auto":
            fitted = _fit_automatically(examples, val_rows, settings, statistics)
        else:
            fitted = _fit_iteratively(examples, val_rows, settings)
    return _training(examples, labels, val_rows, settings, fitted)


def _training(
    examples: TrainingSet, labels: tuple[str, ...], val_rows: Rows, settings: Settings, fitted: _Fitted
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
        label_counts=dict(zip(labels, examples.counts.tolist(), strict=True)),
        untrained_labels=tuple(label for label in source.labels if label not in known),
        phases=watch.phases.as_dict(),
    )


def _some(rows: Rows, most: int, seed: int) -> Rows:
    """As many of the rows, in their order."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _updated(examples: TrainingSet, statistics: Statistics) -> _Fitted | None:
    """What was chosen before, from sums that are brought up to date; None where it is time to choose anew."""
    if statistics.chosen is None or statistics.chosen.recipe.solver == "adam" or examples.is_small:
        return None
    examples.bring_up_to_date()
    chosen = statistics.chosen  # gone where too much had changed to be followed
    if chosen is None or chosen.changed * automatic.CHOOSE_AGAIN_ONE_IN > chosen.examples:
        return None
    choice = automatic.again(examples, chosen)
    return _Fitted(choice.weights, choice.bias, str(choice.recipe), choice.reason, ())


def _trained_classes(source: Examples, train_rows: Rows) -> tuple[tuple[str, ...], Targets]:
    """The labels that have examples to train on, and all targets as indices into those, -1 for the others."""
    counts = np.bincount(source.targets[train_rows], minlength=len(source.labels))
    if not len(train_rows):
        raise TrainingError("there are no examples to train on: label some frames or learn a folder first")
    present = np.flatnonzero(counts)
    if len(present) < 2:
        only = source.labels[int(present[0])]
        raise TrainingError(f"all examples to train on are labelled {only!r}: there must be at least two labels")
    if len(present) == len(source.labels):
        return source.labels, source.targets
    index = np.full(len(source.labels), -1, np.int32)
    index[present] = np.arange(len(present), dtype=np.int32)
    return tuple(source.labels[k] for k in present.tolist()), index[source.targets]


def _fit_iteratively(examples: TrainingSet, val_rows: Rows, settings: Settings) -> _Fitted:
    """With the solver and the settings that were asked for, to the last step."""
    judge = _judge(examples, val_rows, settings) if len(val_rows) else None
    source = examples.source
    if settings.standardise:
        standardisation = examples.standardisation
    else:
        size = source.size
        shift, factor = np.full(size, source.zero_point, np.float32), np.full(size, source.scale, np.float32)
        standardisation = Standardisation(shift, factor)
    solver: Solver
    if settings.solver == "adam":
        solver = Adam(settings.learning_rate, settings.beta1, settings.beta2, settings.epsilon, settings.weight_decay)
        name = f"adam, learning rate {settings.learning_rate:g}, epsilon {settings.epsilon:g}"
    else:
        solver = SGD(settings.learning_rate, settings.weight_decay)
        name = f"sgd, learning rate {settings.learning_rate:g}"
    descent = Descent(settings.solver, solver, settings.batch, settings.steps, settings.validate_every, settings.seed)
    result = descend(examples, standardisation, descent, judge)
    weights, bias = result.weights, result.bias
    if judge is not None:
        weights, bias = automatic.scaled(weights, bias, judge.calibrated(weights, bias)[0])
    return _Fitted(weights, bias, name, "this solver was asked for", result.curves)


def _fit_automatically(
    examples: TrainingSet, val_rows: Rows, settings: Settings, statistics: Statistics | None
) -> _Fitted:
    """With what proves best on examples that it was not trained on, if there are enough to tell."""
    fit, judge_rows, refit = automatic.set_aside(examples, val_rows, settings.seed)
    if fit is None:
        choice = automatic.fixed_choice(examples)
        return _Fitted(choice.weights, choice.bias, str(choice.recipe), choice.reason, ())
    choice = automatic.choose(fit, _judge(examples, judge_rows, settings), settings.batch, settings.seed)
    weights, bias = choice.weights, choice.bias
    if refit:
        weights, bias = automatic.refit(examples, choice, settings.batch, settings.seed)
    if statistics is not None and not examples.is_small:
        statistics.chose(choice.recipe, choice.inverse_temperature)
    return _Fitted(weights, bias, str(choice.recipe), choice.reason, choice.curves, choice.candidates)


def _judge(examples: TrainingSet, rows: Rows, settings: Settings) -> Judge:
    return Judge(examples.source, rows, examples.targets, examples.classes, settings.seed, examples.watch)
