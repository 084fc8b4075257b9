"""From a training set to the weights of a head: by the solver that was asked for, by the best of several, or, between
two comparisons of all solvers, by the closed form that was chosen last."""

from dataclasses import dataclass

from agent.learning.solving.head import Float32
from agent.learning.solving.solvers import SGD, Adam, Solver
from agent.learning.training import choosing
from agent.learning.training.choosing import Candidate, Choice, scaled
from agent.learning.training.descent import Descent, descend
from agent.learning.training.examples import Rows, is_identified
from agent.learning.training.progress import CurvePoint
from agent.learning.training.settings import Settings
from agent.learning.training.sums import Statistics
from agent.learning.training.trainingset import TrainingSet
from agent.learning.training.validation import Judge

CHOOSE_AGAIN_ONE_IN = 10  # when so many examples have changed


@dataclass(frozen=True, slots=True)
class Fitted:
    weights: Float32  # [D, K], for raw bottlenecks
    bias: Float32
    solver: str
    reason: str
    curves: tuple[CurvePoint, ...] = ()
    candidates: tuple[Candidate, ...] = ()


def fit(examples: TrainingSet, val_rows: Rows, settings: Settings, statistics: Statistics | None) -> Fitted:
    """As `settings` say. What `auto` chooses is remembered in `statistics`, which follow these examples."""
    if settings.solver == "auto":
        return _automatically(examples, val_rows, settings, statistics)
    return _iteratively(examples, val_rows, settings)


def _iteratively(examples: TrainingSet, val_rows: Rows, settings: Settings) -> Fitted:
    """With the solver and the settings that were asked for, to the last step."""
    judge = _judge(examples, val_rows, settings) if len(val_rows) else None
    must_be = not settings.standardise and examples.is_out_of_reach
    standardisation = examples.standardisation if settings.standardise or must_be else examples.as_they_are
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
        weights, bias = scaled(weights, bias, judge.calibrated(weights, bias)[0])
    reason = "this solver was asked for"
    if must_be:
        reason += "; the bottlenecks were standardised, because their values are far from what it can learn from"
    return Fitted(weights, bias, name, reason, result.curves)


def _automatically(examples: TrainingSet, val_rows: Rows, settings: Settings, statistics: Statistics | None) -> Fitted:
    """With what proves best on examples that it was not trained on, if there are enough to tell."""
    fit, judge_rows, refit = choosing.set_aside(examples, val_rows, settings.seed)
    if fit is None and choosing.too_few_for_folds(examples):
        return _of_choice(choosing.fixed_choice(examples))
    if fit is None:
        by_folds = choosing.choose_by_folds(examples, lambda rows: _judge(examples, rows, settings), settings.seed)
        return _of_choice(by_folds)
    choice = choosing.choose(fit, _judge(examples, judge_rows, settings), settings.batch, settings.seed)
    if refit:
        choice = choosing.refit(examples, choice, settings.batch, settings.seed)
    if statistics is not None and not examples.is_small:
        examples.bring_up_to_date()
        statistics.chose(choice.recipe, choice.inverse_temperature)
    return _of_choice(choice)


def as_before(examples: TrainingSet, labels: tuple[str, ...], statistics: Statistics) -> Fitted | None:
    """By the closed form that was chosen, solved anew from sums that follow the examples.

    None where nothing was chosen yet, or Adam, whose head no sums give; and after so many changes that it is time to
    choose again.
    """
    chosen, source = statistics.chosen, examples.source
    if chosen is None or chosen.recipe.solver == "adam" or examples.is_small or not is_identified(source):
        return None
    change = statistics.difference(source, examples.rows, labels, examples.targets)
    if change is None or (chosen.changed + len(change)) * CHOOSE_AGAIN_ONE_IN > chosen.examples:
        return None
    weights, bias = scaled(*choosing.closed_form_of(examples, chosen.recipe), chosen.inverse_temperature)
    reason = (
        f"{chosen.recipe} was chosen when there were {chosen.examples} examples; "
        f"{chosen.changed + len(change)} have changed since, so that only the kept sums were brought up to date"
    )
    return Fitted(weights, bias, str(chosen.recipe), reason)


def _of_choice(choice: Choice) -> Fitted:
    return Fitted(choice.weights, choice.bias, str(choice.recipe), choice.reason, choice.curves, choice.candidates)


def _judge(examples: TrainingSet, rows: Rows, settings: Settings) -> Judge:
    return Judge(examples.source, rows, examples.targets, examples.classes, settings.seed, examples.watch)
