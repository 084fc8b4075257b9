"""Choosing between closed forms where too few examples can be spared to judge by: each of them judges once.

On bottlenecks of photographs this was better than a fixed choice from about a hundred examples on (0.752 against 0.744
top-1 at 20 a class, equal at 10), and no better with fewer. Adam is not compared: five more descents cost more than
they tell.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from agent.learning.training.automatic import Candidate, Choice, closed_form_of, closed_forms, scaled
from agent.learning.training.examples import Rows, folds
from agent.learning.training.recipe import Recipe
from agent.learning.training.trainingset import TrainingSet
from agent.learning.training.validation import Judge

FOLDS = 5


@dataclass
class _Tally:
    right: float = 0.0
    loss: float = 0.0
    log_inverse: float = 0.0  # sum over the folds of the logarithm of the inverse temperature


def choose(examples: TrainingSet, judge_of: Callable[[Rows], Judge], seed: int) -> Choice:
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
