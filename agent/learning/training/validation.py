"""Judging heads while they are made, and making their probabilities honest."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from agent.learning.solving.head import Float32, Head, Targets, linear
from agent.learning.solving.metrics import Evaluation, Tally, cross_entropies, inverse_temperature, target_ranks
from agent.learning.training.examples import Examples, Rows, blocks, read
from agent.learning.training.progress import Progress, Watch

MAX_ROWS = 5000  # more examples would hardly judge better, and every candidate is judged on all of them
MAX_LOGITS = 1 << 23
LOGITS_ROWS = 250  # at once
TEMPERATURE_ROWS = 1000  # for a single number


class Scores(NamedTuple):
    top1: float
    top5: float
    loss: float  # mean cross-entropy, of the examples of known classes


class Judge:
    """Examples on which candidate heads are compared, kept in memory.

    Those of a class that was not trained count as wrong.
    """

    def __init__(self, source: Examples, rows: Rows, targets: Targets, classes: int, seed: int, watch: Watch) -> None:
        """`rows` of the source; `targets` are those of all its examples, -1 where the class is not trained."""
        limit = min(MAX_ROWS, MAX_LOGITS // classes)
        if len(rows) > limit:
            rows = np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))
        self._raw = read(source, rows, watch.phases)
        self._targets = targets[rows]
        self._watch = watch

    def __len__(self) -> int:
        return len(self._raw)

    def scores(self, weights: Float32, bias: Float32) -> Scores:
        """Those of a head for raw bottlenecks."""
        with self._watch.phases.phase("validation", images=len(self)):
            right1 = right5 = known_rows = 0
            loss = 0.0
            for logits, targets in self._logits(weights, bias, len(self)):
                ranks = target_ranks(logits, targets)
                right1 += int(np.count_nonzero(ranks < 1))
                right5 += int(np.count_nonzero(ranks < min(5, len(bias))))
                known = targets >= 0
                loss += float(cross_entropies(logits[known], targets[known]).sum())
                known_rows += int(np.count_nonzero(known))
        return Scores(right1 / len(self), right5 / len(self), loss / max(known_rows, 1))

    def calibrated(self, weights: Float32, bias: Float32) -> tuple[float, float]:
        """The inverse temperature that suits a head for raw bottlenecks, and its cross-entropy with that."""
        parts = list(self._logits(weights, bias, TEMPERATURE_ROWS))
        logits = np.concatenate([logits for logits, _ in parts])
        targets = np.concatenate([targets for _, targets in parts])
        logits, targets = logits[targets >= 0], targets[targets >= 0]
        if not len(targets):
            return 1.0, 0.0
        inverse = inverse_temperature(logits, targets)
        return inverse, float(cross_entropies(logits * np.float32(inverse), targets).mean())

    def _logits(self, weights: Float32, bias: Float32, rows: int) -> Iterator[tuple[Float32, Targets]]:
        for first in range(0, min(rows, len(self)), LOGITS_ROWS):
            block = slice(first, first + LOGITS_ROWS)
            yield linear(self._raw[block], weights, bias), self._targets[block]


def evaluate_head(head: Head, source: Examples, rows: Rows, watch: Watch | None = None) -> Evaluation:
    """The figures of a head on `rows` of a source, however many. Raises ValueError if there are none."""
    watch = watch or Watch()
    tally = Tally(head.labels)
    seen = 0
    for batch in blocks(source, rows, watch.phases):
        with watch.phases.phase("validation", images=len(batch.raw)):
            tally.add(head.probabilities(batch.raw), [source.labels[k] for k in source.targets[batch.rows].tolist()])
        seen += len(batch.rows)
        watch.progress(Progress("validation", seen, len(rows)))
    return tally.evaluation()
