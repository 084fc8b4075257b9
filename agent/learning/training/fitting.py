"""From a training set to the weights of a head: by the solver that was asked for, or by the best of several."""

from dataclasses import dataclass

import numpy as np

from agent.learning.solving.head import Float32
from agent.learning.solving.moments import Standardisation
from agent.learning.solving.solvers import SGD, Adam, Solver
from agent.learning.training import automatic, renewal
from agent.learning.training.descent import Descent, descend
from agent.learning.training.examples import Rows
from agent.learning.training.folds import choose as by_folds
from agent.learning.training.progress import CurvePoint
from agent.learning.training.settings import Settings
from agent.learning.training.sums import Statistics
from agent.learning.training.trainingset import TrainingSet
from agent.learning.training.validation import Judge


@dataclass(frozen=True, slots=True)
class Fitted:
    weights: Float32  # [D, K], for raw bottlenecks
    bias: Float32
    solver: str
    reason: str
    curves: tuple[CurvePoint, ...]
    candidates: tuple[automatic.Candidate, ...] = ()


def iteratively(examples: TrainingSet, val_rows: Rows, settings: Settings) -> Fitted:
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
    return Fitted(weights, bias, name, "this solver was asked for", result.curves)


def automatically(
    examples: TrainingSet,
    labels: tuple[str, ...],
    val_rows: Rows,
    settings: Settings,
    statistics: Statistics | None,
) -> Fitted:
    """With what proves best on examples that it was not trained on, if there are enough to tell."""
    fit, judge_rows, refit = automatic.set_aside(examples, val_rows, settings.seed)
    if fit is None and automatic.too_few_for_folds(examples):
        return of_choice(automatic.fixed_choice(examples))
    if fit is None:
        return of_choice(by_folds(examples, lambda rows: _judge(examples, rows, settings), settings.seed))
    choice = automatic.choose(fit, _judge(examples, judge_rows, settings), settings.batch, settings.seed)
    if refit:
        choice = automatic.refit(examples, choice, settings.batch, settings.seed)
    if statistics is not None and not examples.is_small:
        renewal.keep(examples, labels, choice, statistics)
    return of_choice(choice)


def of_choice(choice: automatic.Choice) -> Fitted:
    return Fitted(choice.weights, choice.bias, str(choice.recipe), choice.reason, choice.curves, choice.candidates)


def _judge(examples: TrainingSet, rows: Rows, settings: Settings) -> Judge:
    return Judge(examples.source, rows, examples.targets, examples.classes, settings.seed, examples.watch)
