"""The gate: whether a new head may go into service.

It may if its answers are finite and it is not worse than the head in service on the same validation examples. Both
answer the same examples, so only those on which exactly one of them is right tell them apart (McNemar 1947): `lost`,
which the head in service got right and the new one does not, and `gained`, the other way round. The new head is
worse if

    (lost - gained) / n  >  max(margin, 1.645 sqrt(lost + gained) / n)

The root is the standard error of lost - gained for two heads that are equally good, 1.645 of them are exceeded by
chance once in twenty. So a single example, or two of eight, do not block a head where there are few to judge by, and
with hundreds the margin alone decides.
"""

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.learning.solving.head import Head
from agent.learning.training.examples import VAL, Examples, Rows, blocks, rows_of
from agent.learning.training.progress import Phases

MARGIN = 0.02
STANDARD_ERRORS = 1.645  # one-sided, 1 in 20
MAX_JUDGED = 2000  # validation examples: more would take longer than an update of a head from kept sums
CANARIES = 32  # examples of any split whose answers must be finite


@dataclass(frozen=True, slots=True)
class Comparison:
    """A new head beside the one in service, on the examples of labels that both know, answering among these."""

    version: str  # of the head in service
    examples: int
    top1: float  # of the new head
    top1_in_service: float
    lost: int
    gained: int
    allowed: float  # loss of top-1

    @property
    def is_worse(self) -> bool:
        return (self.lost - self.gained) / self.examples > self.allowed


@dataclass(frozen=True, slots=True)
class NewLabel:
    """How a label fares that the head in service does not know; the new head answers among all its labels."""

    count: int  # validation examples
    recall: float | None  # None where there are none


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says of a head, and on which figures."""

    accepted: bool
    reason: str
    margin: float
    comparison: Comparison | None = None
    new_labels: dict[str, NewLabel] = field(default_factory=dict)
    removed_labels: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def judge(
    head: Head, in_service: tuple[str, Head] | None, source: Examples, *, margin: float, seed: int, phases: Phases
) -> Verdict:
    """Compare a new head with the version in service on validation examples of the source, drawn by the seed.

    Labels that only one of them knows neither help nor block. Raises StateError where the source cannot be read.
    """
    rng = np.random.default_rng(seed)
    rows = rows_of(np.asarray(source.splits), VAL)
    rows = np.sort(rng.choice(rows, MAX_JUDGED, replace=False)) if len(rows) > MAX_JUDGED else rows
    canaries = np.sort(rng.choice(source.count, min(CANARIES, source.count), replace=False)).astype(np.intp)
    if not _answers_finitely(head, source, canaries, phases):
        return Verdict(False, f"its answers to {len(canaries)} stored examples are not finite numbers", margin)
    if in_service is None:
        return Verdict(True, "no head was in service to compare it with; its answers are finite", margin)
    version, old = in_service
    if old.backbone_id != head.backbone_id:
        return Verdict(True, f"head {version}, in service, is of another backbone; its answers are finite", margin)
    answers = _answers(head, old, source, rows, phases)
    comparison = _compared(answers, version, margin)
    new_labels = _recalls(answers, head, old)
    removed = tuple(label for label in old.labels if label not in set(head.labels))
    if comparison is None:
        reason = f"no validation examples of labels that it and head {version} both know; its answers are finite"
        return Verdict(True, reason, margin, None, new_labels, removed)
    return Verdict(not comparison.is_worse, _reason(comparison), margin, comparison, new_labels, removed)


def judge_alone(head: Head, *, margin: float) -> Verdict:
    """What can be said where there are no examples: a head that came before them."""
    if not _is_finite(head):
        return Verdict(False, "its weights are not finite numbers", margin)
    return Verdict(True, "there are no examples here to judge it by; its weights are finite", margin)


def _is_finite(head: Head) -> bool:
    return bool(np.isfinite(head.weights).all() and np.isfinite(head.bias).all())


def _answers_finitely(head: Head, source: Examples, rows: Rows, phases: Phases) -> bool:
    if not _is_finite(head):
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return all(bool(np.isfinite(head.logits(batch.raw)).all()) for batch in blocks(source, rows, phases))


class _Answers(NamedTuple):
    """To n validation examples."""

    truth: list[str]
    shared: NDArray[np.bool_]  # [n] whether both heads know the label
    right: NDArray[np.bool_]  # [n] of the new head, answering among the labels that both know
    right_before: NDArray[np.bool_]  # [n] of the head in service, likewise
    unbounded: list[str]  # of the new head, answering among all its labels


def _answers(head: Head, old: Head, source: Examples, rows: Rows, phases: Phases) -> _Answers:
    known = set(old.labels)
    labels = [label for label in head.labels if label in known]
    columns, columns_before = _columns(head, labels), _columns(old, labels)
    index = {label: number for number, label in enumerate(labels)}
    wanted = np.array([index.get(label, -1) for label in source.labels], np.intp)[source.targets[rows]]
    answered, answered_before, unbounded = [], [], []
    for batch in blocks(source, rows, phases):
        with phases.phase("validation", images=len(batch.rows)):
            logits, logits_before = head.logits(batch.raw), old.logits(batch.raw)
            unbounded += [head.labels[k] for k in logits.argmax(axis=1).tolist()]
            if labels:
                answered.append(logits[:, columns].argmax(axis=1))
                answered_before.append(logits_before[:, columns_before].argmax(axis=1))
    nothing = [np.full(0 if answered else len(rows), -2)]
    right = np.concatenate(answered or nothing) == wanted
    right_before = np.concatenate(answered_before or nothing) == wanted
    truth = [source.labels[k] for k in source.targets[rows].tolist()]
    return _Answers(truth, wanted >= 0, right, right_before, unbounded)


def _columns(head: Head, labels: list[str]) -> NDArray[np.intp]:
    index = {label: column for column, label in enumerate(head.labels)}
    return np.array([index[label] for label in labels], np.intp)


def _compared(answers: _Answers, version: str, margin: float) -> Comparison | None:
    """None where no example is of a label that both know."""
    examples = int(answers.shared.sum())
    if not examples:
        return None
    now, before = answers.right[answers.shared], answers.right_before[answers.shared]
    lost, gained = int((before & ~now).sum()), int((now & ~before).sum())
    allowed = max(margin, STANDARD_ERRORS * math.sqrt(lost + gained) / examples)
    return Comparison(version, examples, float(now.mean()), float(before.mean()), lost, gained, allowed)


def _recalls(answers: _Answers, head: Head, old: Head) -> dict[str, NewLabel]:
    known = set(old.labels)
    counts = Counter(answers.truth)
    right = Counter(truth for truth, answer in zip(answers.truth, answers.unbounded, strict=True) if truth == answer)
    return {
        label: NewLabel(counts[label], right[label] / counts[label] if counts[label] else None)
        for label in head.labels
        if label not in known
    }


def _reason(comparison: Comparison) -> str:
    figures = (
        f"top-1 {comparison.top1:.3f} against {comparison.top1_in_service:.3f} of head {comparison.version} "
        f"on {comparison.examples} validation examples of labels that both know"
    )
    if comparison.is_worse:
        return f"worse than the head in service: {figures}; a loss of {comparison.allowed:.3f} is allowed"
    return f"not worse than the head in service: {figures}"
