"""The solver that needs no setting: several are tried, and what validates best is taken.

No kind of head is best everywhere. The closed forms cost one pass over the examples and one linear system a
shrinkage; Adam is stopped as soon as it gets no better. Together they cost a fraction of the study's 10,000 steps.

Where too few examples can be spared to judge by, the closed forms are compared in folds, so that each judges once. On
bottlenecks of photographs this was better than a fixed choice from about a hundred examples on (0.752 against 0.744
top-1 at 20 a class, equal at 10), and no better with fewer. Adam is not compared: five more descents cost more than
they tell.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from agent.learning.solving import closed_form
from agent.learning.solving.head import Float32
from agent.learning.solving.solvers import Adam
from agent.learning.training.descent import Descent, descend
from agent.learning.training.examples import Rows
from agent.learning.training.progress import CurvePoint, Progress
from agent.learning.training.settings import Recipe
from agent.learning.training.splitting import cut_stratified, folds
from agent.learning.training.trainingset import TrainingSet
from agent.learning.training.validation import Judge

# With fewer examples to judge by (their top-1 is off by up to 5 %), choosing was no better than the fixed choice.
MIN_JUDGED = 100
SET_ASIDE_ONE_IN = 4
FOLDS = 5
FEW_A_CLASS = 3

SHRINKAGES = (0.1, 0.3, 1.0, 3.0, 10.0)
MAX_DISCRIMINANT_CLASSES = 2048  # it takes a K x K system

# (learning rate, epsilon). The first is the usual one. With an epsilon far above the gradients Adam is gradient descent
# with momentum, which turns to the widest margin: better where there are fewer examples than values in a bottleneck.
ADAM = (0.001, 1e-8)
ADAM_FOR_FEW = (0.01, 0.1)
# A tenth of the study's steps, however many examples there are: with standardised bottlenecks and 100 classes or fewer,
# validation was at its best within 700; and the closed forms beside it have seen every example.
STEPS, STEPS_FOR_FEW, VALIDATE_EVERY, PATIENCE = 1000, 600, 100, 3

# Where there are more examples than values, a head from sums is brought up to date exactly and one from Adam is not:
# Adam must be better by so much.
ADAM_MARGIN = 0.005


@dataclass(frozen=True, slots=True)
class Candidate:
    recipe: Recipe
    top1: float  # on the examples that chose
    loss: float | None  # with its best temperature; None where top-1 alone had ruled it out


@dataclass(frozen=True, slots=True)
class Choice:
    recipe: Recipe
    weights: Float32  # [D, K], for raw bottlenecks, as is the bias
    bias: Float32
    inverse_temperature: float  # is in weights and bias
    reason: str
    curves: tuple[CurvePoint, ...] = ()  # of a closed form, which has none: those of the first Adam beside it
    candidates: tuple[Candidate, ...] = ()


@dataclass
class _Tally:
    right: float = 0.0
    loss: float = 0.0
    log_inverse: float = 0.0  # sum over the folds of the logarithm of the inverse temperature


def set_aside(examples: TrainingSet, val_rows: Rows, seed: int) -> tuple[TrainingSet | None, Rows, bool]:
    """What to fit candidates on, what to judge them on, and whether the chosen one is to be fitted again on all.

    None to fit on: there are too few examples to choose by.
    """
    if len(val_rows) >= MIN_JUDGED:
        return examples, val_rows, False
    kept, aside = cut_stratified(examples.targets, examples.rows, SET_ASIDE_ONE_IN, seed)
    if len(aside) >= MIN_JUDGED:
        return examples.subset(kept), aside, True
    return None, aside, False


def too_few_for_folds(examples: TrainingSet) -> bool:
    return len(examples.rows) < max(MIN_JUDGED, FEW_A_CLASS * examples.classes)


def fixed_choice(examples: TrainingSet) -> Choice:
    """What served best, on the average of many draws of bottlenecks, where too few examples are left to choose by.

    The temperatures were found on the same draws: the fewer examples there are, the more their scatter within
    classes comes out too small, and the discriminant's logits too large.
    """
    per_class = len(examples.rows) / examples.classes
    if per_class < FEW_A_CLASS or examples.classes > MAX_DISCRIMINANT_CLASSES:
        recipe, inverse = Recipe("ridge", shrinkage=30.0), 12.0
    else:
        recipe, inverse = Recipe("lda", shrinkage=3.0), per_class / (per_class + 45)
    weights, bias = scaled(*closed_form_of(examples, recipe), inverse)
    reason = f"{len(examples.rows)} examples are too few to choose by; {recipe} is what serves best then"
    return Choice(recipe, weights, bias, inverse, reason)


def choose(examples: TrainingSet, judge: Judge, batch: int, seed: int) -> Choice:
    """Fit all candidates and take the one with the best top-1 on the judge's examples; of equals, the least loss."""
    best: Choice | None = None
    best_key = (-1.0, 0.0)
    margin = 0.0 if examples.is_small else ADAM_MARGIN
    candidates: list[Candidate] = []
    curves: tuple[CurvePoint, ...] = ()
    for recipe, weights, bias, its_curves in _fitted(examples, judge, batch, seed):
        curves = curves or its_curves
        top1, loss = judge.scores(weights, bias).top1, None
        handicapped = top1 - margin if recipe.solver == "adam" else top1
        if handicapped >= best_key[0]:
            inverse, loss = judge.calibrated(weights, bias)
            if (handicapped, -loss) > best_key:
                best_key = handicapped, -loss
                best = Choice(recipe, *scaled(weights, bias, inverse), inverse, "", its_curves)
        candidates.append(Candidate(recipe, top1, loss))
        del weights, bias  # before the next ones are made
    assert best is not None
    reason = _reason(candidates, best.recipe, len(judge))
    return replace(best, reason=reason, curves=best.curves or curves, candidates=tuple(candidates))


def choose_by_folds(examples: TrainingSet, judge_of: Callable[[Rows], Judge], seed: int) -> Choice:
    """The closed form with the best top-1 over all folds, of equals the least loss, fitted on all examples."""
    tallies: dict[Recipe, _Tally] = {}
    parts = folds(examples.targets, examples.rows, FOLDS, seed)
    judged = sum(len(judging) for _, judging in parts)
    for kept, judging in parts:
        judge = judge_of(judging)
        for recipe, weights, bias in closed_forms(examples.subset(kept)):
            tally = tallies.setdefault(recipe, _Tally())
            inverse, loss = judge.calibrated(weights, bias)
            tally.right += judge.scores(weights, bias).top1 * len(judging)
            tally.loss += loss * len(judging)
            tally.log_inverse += float(np.log(inverse))
    candidates = tuple(Candidate(each, tally.right / judged, tally.loss / judged) for each, tally in tallies.items())
    best = max(candidates, key=lambda candidate: (candidate.top1, -(candidate.loss or 0.0)))
    inverse = float(np.exp(tallies[best.recipe].log_inverse / len(parts)))
    weights, bias = scaled(*closed_form_of(examples, best.recipe), inverse)
    reason = (
        f"{best.recipe} has the best top-1, {best.top1:.3f}, when each of {judged} examples is judged by the others"
    )
    return Choice(best.recipe, weights, bias, inverse, reason, candidates=candidates)


def refit(examples: TrainingSet, choice: Choice, batch: int, seed: int) -> Choice:
    """The chosen recipe on all examples."""
    recipe = choice.recipe
    if recipe.solver == "adam":
        solver = Adam(recipe.learning_rate, epsilon=recipe.epsilon)
        descent = Descent("adam", solver, batch, recipe.steps, recipe.steps, seed)
        descended = descend(examples, examples.standardisation, descent, None)
        weights, bias = descended.weights, descended.bias
    else:
        weights, bias = closed_form_of(examples, recipe)
    weights, bias = scaled(weights, bias, choice.inverse_temperature)
    return replace(choice, weights=weights, bias=bias)


def scaled(weights: Float32, bias: Float32, factor: float) -> tuple[Float32, Float32]:
    return weights * np.float32(factor), bias * np.float32(factor)


def _fitted(
    examples: TrainingSet, judge: Judge, batch: int, seed: int
) -> Iterator[tuple[Recipe, Float32, Float32, tuple[CurvePoint, ...]]]:
    """Every candidate: its recipe, its weights and bias for raw bottlenecks, and its curves if it has any."""
    yield from ((*form, ()) for form in closed_forms(examples))  # in no variable, which would keep the last one
    examples.forget_scatter()
    few = examples.is_small
    steps = STEPS_FOR_FEW if few else STEPS
    for learning_rate, epsilon in (ADAM, ADAM_FOR_FEW) if few else (ADAM,):
        descent = Descent("adam", Adam(learning_rate, epsilon=epsilon), batch, steps, VALIDATE_EVERY, seed, PATIENCE)
        descended = descend(examples, examples.standardisation, descent, judge)
        recipe = Recipe("adam", learning_rate=learning_rate, epsilon=epsilon, steps=descended.steps)
        yield recipe, descended.weights, descended.bias, descended.curves


def closed_forms(examples: TrainingSet) -> Iterator[tuple[Recipe, Float32, Float32]]:
    """Each with its weights and bias for raw bottlenecks."""
    kinds: tuple[Literal["lda", "ridge"], ...] = ("lda", "ridge")
    for number, shrinkage in enumerate(SHRINKAGES, start=1):
        solved = _solved(examples, shrinkage)
        for solver in kinds if examples.classes <= MAX_DISCRIMINANT_CLASSES else kinds[1:]:
            recipe = Recipe(solver, shrinkage=shrinkage)
            yield recipe, *_from_solved(examples, recipe, solved)
        del solved
        examples.watch.progress(Progress("closed forms", number, len(SHRINKAGES)))


def closed_form_of(examples: TrainingSet, recipe: Recipe) -> tuple[Float32, Float32]:
    return _from_solved(examples, recipe, _solved(examples, recipe.shrinkage))


def _solved(examples: TrainingSet, shrinkage: float) -> Float32:
    scatter = examples.scatter  # reads the examples the first time: not part of the phase
    with examples.watch.phases.phase("closed_form", images=len(examples.rows)):
        return scatter.solve(shrinkage)


def _from_solved(examples: TrainingSet, recipe: Recipe, solved: Float32) -> tuple[Float32, Float32]:
    """Weights [D, K] and bias [K] for raw bottlenecks; `solved` is A."""
    with examples.watch.phases.phase("closed_form", images=len(examples.rows)):
        weights, bias = closed_form.head(recipe.solver, solved, examples.means, examples.shares)
        return examples.standardisation.folded(weights, bias)


def _reason(candidates: list[Candidate], chosen: Recipe, judged: int) -> str:
    """Why that one, beside the best of each other kind."""
    best: dict[str, Candidate] = {}
    for candidate in candidates:
        kind = candidate.recipe.solver
        if kind not in best or candidate.top1 > best[kind].top1:
            best[kind] = candidate
    top1 = max(candidate.top1 for candidate in candidates)
    others = "; ".join(
        f"{candidate.recipe} {candidate.top1:.3f}" for kind, candidate in best.items() if kind != chosen.solver
    )
    how = "has the best top-1"
    own = max(candidate.top1 for candidate in candidates if candidate.recipe == chosen)
    if own < top1:
        return f"{chosen} has top-1 {own:.3f} on {judged} validation examples, and is cheap to update ({others})"
    if sum(candidate.top1 == top1 for candidate in candidates) > 1:
        how = "shares the best top-1 and has the least loss of those"
    return f"{chosen} {how}, {top1:.3f} on {judged} validation examples ({others})"
