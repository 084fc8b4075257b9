"""The head that was chosen, brought up to date: between two comparisons of all solvers nothing is chosen anew.

Few changes are worked into what was solved (updating.py), and nothing is written. After more of them the sums follow
the examples, and the same form is solved from these. After many it is time to compare again.
"""

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import StateError
from agent.learning.solving import closed_form
from agent.learning.solving.cholesky import Cholesky
from agent.learning.solving.closed_form import PrimalScatter
from agent.learning.solving.head import Float32
from agent.learning.training.automatic import Choice, from_solved, scaled
from agent.learning.training.difference import Change
from agent.learning.training.examples import is_identified, read
from agent.learning.training.recipe import Recipe
from agent.learning.training.sums import Statistics
from agent.learning.training.trainingset import TrainingSet
from agent.learning.training.updating import Solved, newton_step, solved_again

log = logging.getLogger(__name__)

CHOOSE_AGAIN_ONE_IN = 10  # when so many examples have changed
SOLVE_AGAIN_ONE_IN = 4  # when as many as so many values of a bottleneck have: from then on it is no dearer
DAMPING = 0.1  # the shrinkage beside the scatter in a Newton step


def renewed(examples: TrainingSet, labels: tuple[str, ...], statistics: Statistics) -> Choice | None:
    """None where it is time to choose anew, or nothing was chosen yet."""
    chosen, source = statistics.chosen, examples.source
    if chosen is None or examples.is_small or not is_identified(source):
        return None
    change = statistics.difference(source, examples.rows, labels, examples.targets)
    if change is None or (chosen.changed + len(change)) * CHOOSE_AGAIN_ONE_IN > chosen.examples:
        return None
    adam, inverse = chosen.recipe.solver == "adam", chosen.inverse_temperature
    raw = _few(examples, statistics, change)
    if adam and (raw is None or not statistics.moments.counts[statistics.indices(labels)].all()):
        return None  # many changes, or a label that its head does not know
    if adam and raw is not None:
        weights, bias = _stepped(examples, labels, statistics, change, raw)
        how = "so that the head made one Newton step for these"
    elif raw is not None:
        weights, bias = scaled(*_updated(examples, labels, statistics, change, raw), inverse)
        how = "so that only these were worked into the kept solution"
    else:
        weights, bias = scaled(*_solved_from_sums(examples, labels, statistics, chosen.recipe), inverse)
        how = "so that only the kept sums were brought up to date"
    reason = (
        f"{chosen.recipe} was chosen when there were {chosen.examples} examples; "
        f"{chosen.changed + len(change)} have changed since, {how}"
    )
    return Choice(chosen.recipe, weights, bias, inverse, reason)


def _few(examples: TrainingSet, statistics: Statistics, change: Change) -> NDArray[Any] | None:
    """The changed bottlenecks [n, D]; None where they are too many to work in, or not all to be had."""
    if statistics.solved is None or change.gone or len(change) * SOLVE_AGAIN_ONE_IN > examples.source.size:
        return None
    try:
        return read(examples.source, change.rows, examples.watch.phases)
    except StateError as error:  # one that was deleted is rotten
        log.warning("%s; all examples are read again", error)
        return None


def keep(examples: TrainingSet, labels: tuple[str, ...], choice: Choice, statistics: Statistics) -> None:
    """From now on changes are followed from this choice, which is of these examples."""
    examples.bring_up_to_date()
    statistics.chose(choice.recipe, choice.inverse_temperature)
    if choice.recipe.solver == "adam":
        factor = _factor(examples, DAMPING)
        _remember(examples, labels, statistics, factor, choice.weights, choice.bias)
    else:
        _solve(examples, labels, statistics, choice.recipe.shrinkage)
    examples.forget_scatter()


def _factor(examples: TrainingSet, shrinkage: float) -> Cholesky:
    scatter = examples.scatter
    assert isinstance(scatter, PrimalScatter)  # they are not small
    with examples.watch.phases.phase("closed_form", images=len(examples.rows)):
        return scatter.factor(shrinkage)


def _solve(examples: TrainingSet, labels: tuple[str, ...], statistics: Statistics, shrinkage: float) -> Float32:
    """A [D, K]"""
    factor = _factor(examples, shrinkage)
    with examples.watch.phases.phase("closed_form", images=len(examples.rows)):
        solved = factor.solve(examples.means)
        y = solved * examples.shares.astype(np.float32)
    _remember(examples, labels, statistics, factor, y, np.zeros(examples.classes, np.float32))
    return solved


def _remember(
    examples: TrainingSet,
    labels: tuple[str, ...],
    statistics: Statistics,
    factor: Cholesky,
    solution: Float32,
    bias: Float32,
) -> None:
    indices, classes = statistics.indices(labels), len(statistics.labels)
    of_all, bias_of_all = np.zeros((len(solution), classes), np.float32), np.zeros(classes, np.float32)
    of_all[:, indices], bias_of_all[indices] = solution, bias
    statistics.solve(Solved(examples.standardisation, factor, len(examples.rows), of_all, bias_of_all))


def _solved_from_sums(
    examples: TrainingSet, labels: tuple[str, ...], statistics: Statistics, recipe: Recipe
) -> tuple[Float32, Float32]:
    """The form that was chosen, solved anew from sums that follow the examples."""
    examples.bring_up_to_date()
    solved = _solve(examples, labels, statistics, recipe.shrinkage)
    return from_solved(examples, recipe, solved)


def _updated(
    examples: TrainingSet, labels: tuple[str, ...], statistics: Statistics, change: Change, raw: NDArray[Any]
) -> tuple[Float32, Float32]:
    """The closed form that was chosen, with the changed examples worked into what was solved."""
    chosen, solved = statistics.chosen, statistics.solved
    assert chosen is not None
    assert solved is not None
    with examples.watch.phases.phase("closed_form", images=len(raw)):
        moments = statistics.moments.without_products()
        moments.change(raw, change.before, change.after)
        indices = statistics.indices(labels)
        a = solved_again(solved, moments, raw, change)[:, indices]
        moments = moments.of_classes(indices)
        standardisation = solved.standardisation.around(moments.mean)
        means = moments.means(standardisation)
        return standardisation.folded(*closed_form.head(chosen.recipe.solver, a, means, examples.shares))


def _stepped(
    examples: TrainingSet, labels: tuple[str, ...], statistics: Statistics, change: Change, raw: NDArray[Any]
) -> tuple[Float32, Float32]:
    """Adam's head after a Newton step for the changed examples; with the temperature."""
    assert statistics.chosen is not None
    assert statistics.solved is not None
    with examples.watch.phases.phase("closed_form", images=len(raw)):
        weights, bias = newton_step(statistics.solved, statistics.chosen.inverse_temperature, raw, change)
    indices = statistics.indices(labels)
    return np.ascontiguousarray(weights[:, indices]), bias[indices]
