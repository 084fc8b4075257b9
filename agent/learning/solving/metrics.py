"""How good a head is, and what makes its probabilities mean what they say: pure functions of these and true labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.learning.solving.head import Float32, Targets, softmax

ECE_BINS = 15
_TEMPERATURE_BITS = (-16.0, 16.0)
# A confusion matrix of more classes is too large to be looked at. Of 1,000 it would be 2 MB in every head's report, on
# flash, and 8 MB in memory each time that such a report is read.
MAX_CONFUSION = 256


@dataclass(frozen=True)
class ClassFigures:
    count: int  # images of this class
    recall: float | None  # None where there were no images
    precision: float | None  # None where it was never answered


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Figures over `images` pictures. Labels that the head does not know count as wrong, and as classes of recall 0."""

    images: int
    top1: float
    top5: float
    macro_recall: float  # the mean over the classes that have images
    ece: float  # expected calibration error (Guo et al. 2017), 15 bins
    labels: tuple[str, ...]  # those of the head
    per_class: dict[str, ClassFigures]  # the labels of the head, then unknown ones
    confusion: NDArray[np.int64] | None  # [K, K] true x answered; None above MAX_CONFUSION classes
    unknown_labels: dict[str, int]  # label: images

    def as_dict(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "top1": self.top1,
            "top5": self.top5,
            "macro_recall": self.macro_recall,
            "ece": self.ece,
            "labels": list(self.labels),
            "per_class": {
                label: {"count": c.count, "recall": c.recall, "precision": c.precision}
                for label, c in self.per_class.items()
            },
            "confusion": None if self.confusion is None else self.confusion.tolist(),
            "unknown_labels": self.unknown_labels,
        }

    def heading(self, head: str) -> str:
        """The figures in a line; `head` is what the head is called."""
        return (
            f"head {head}: top-1 {self.top1:.3f}, top-5 {self.top5:.3f}, macro recall {self.macro_recall:.3f}, "
            f"calibration error {self.ece:.3f}, {self.images} images"
        )


def target_ranks(scores: NDArray[Any], targets: NDArray[Any]) -> NDArray[np.int64]:
    """How many classes come before the true one, [B]; `scores` are [B, K], equal ones rank by index.

    A target of -1 is a class that the scores do not have: its rank is K.
    """
    of_target = scores[np.arange(len(scores)), targets][:, None]
    ranks = np.count_nonzero(scores > of_target, axis=1)
    equal = scores == of_target
    tied = np.flatnonzero(np.count_nonzero(equal, axis=1) > 1)  # hardly ever any
    if len(tied):
        ranks[tied] += np.count_nonzero(equal[tied] & (np.arange(scores.shape[1]) < targets[tied, None]), axis=1)
    found: NDArray[np.int64] = np.where(targets < 0, scores.shape[1], ranks).astype(np.int64)
    return found


def top_k_correct(scores: NDArray[Any], targets: NDArray[Any], k: int) -> int:
    """For how many of the B rows of `scores` [B, K] the true class is among the k best."""
    return int(np.count_nonzero(target_ranks(scores, targets) < min(k, scores.shape[1])))


def calibration_error(top: NDArray[Any], correct: NDArray[np.bool_], bins: int = ECE_BINS) -> float:
    """Expected calibration error: of answers [B] with probability `top`, which were `correct`, in bins of equal width.

    The mean distance, weighted by their images, between the bins' mean probability and their share of right answers.
    """
    place = np.clip(np.ceil(top * bins).astype(np.intp) - 1, 0, bins - 1)
    surplus = np.bincount(place, weights=top.astype(np.float64) - correct, minlength=bins)
    return float(np.abs(surplus).sum() / len(top)) if len(top) else 0.0


def inverse_temperature(logits: Float32, targets: Targets) -> float:
    """The b for which softmax(b * logits) has the least cross-entropy (Guo et al. 2017), by bisection.

    Logits [B, K], class indices [B]. The targets are softened by one wrong answer among B + 2 (as
    Platt 1999 does), so that a few examples that are all right do not make a head sure of everything.
    """
    soft = 1 / (len(logits) + 2)
    wanted = (1 - soft) * logits[np.arange(len(logits)), targets] + soft * logits.mean(axis=1)
    low, high = _TEMPERATURE_BITS
    for _ in range(18):  # the cross-entropy is convex in b: look for the zero of its slope
        middle = (low + high) / 2
        expected = np.einsum("bk,bk->b", softmax(logits * np.float32(2**middle)), logits)
        if float((expected - wanted).sum()) < 0:
            low = middle
        else:
            high = middle
    return float(2**low)


def cross_entropies(logits: NDArray[Any], targets: NDArray[np.int32]) -> NDArray[Any]:
    """[B]"""
    shifted = logits - logits.max(axis=1, keepdims=True)
    of_target = shifted[np.arange(len(logits)), targets]
    sums: NDArray[Any] = np.exp(shifted, out=shifted).sum(axis=1)
    losses: NDArray[Any] = np.log(sums) - of_target
    return losses


class Tally:
    """Counts what a head answers, batch by batch: memory grows by 13 bytes an image."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._indices = {label: index for index, label in enumerate(labels)}
        self._targets: list[NDArray[np.int32]] = []
        self._answers: list[NDArray[np.int32]] = []
        self._tops: list[Float32] = []
        self._top5 = 0
        self._unknown_labels: dict[str, int] = {}

    def add(self, probabilities: Float32, truth: Sequence[str]) -> None:
        """Probabilities [B, K] and the true labels of those pictures."""
        targets = np.fromiter((self._indices.get(label, -1) for label in truth), np.int32, len(truth))
        for label in (label for label in truth if label not in self._indices):
            self._unknown_labels[label] = self._unknown_labels.get(label, 0) + 1
        answers = probabilities.argmax(axis=1)
        self._targets.append(targets)
        self._answers.append(answers.astype(np.int32))
        self._tops.append(probabilities[np.arange(len(answers)), answers])
        self._top5 += top_k_correct(probabilities, targets, 5)

    def evaluation(self) -> Evaluation:
        """The figures of all that was added. Raises ValueError if nothing was."""
        images = sum(map(len, self._targets))
        if not images:
            raise ValueError("there are no images to judge the head by")
        targets, answers = np.concatenate(self._targets), np.concatenate(self._answers)
        correct = targets == answers
        per_class = self._per_class(targets, answers)
        recalls = [figures.recall for figures in per_class.values() if figures.recall is not None]
        return Evaluation(
            images=images,
            top1=float(correct.mean()),
            top5=self._top5 / images,
            macro_recall=sum(recalls) / len(recalls),
            ece=calibration_error(np.concatenate(self._tops), correct),
            labels=self._labels,
            per_class=per_class,
            confusion=self._confusion(targets, answers),
            unknown_labels=dict(self._unknown_labels),
        )

    def _per_class(self, targets: NDArray[np.int32], answers: NDArray[np.int32]) -> dict[str, ClassFigures]:
        classes = len(self._labels)
        counts = np.bincount(targets[targets >= 0], minlength=classes).tolist()
        answered = np.bincount(answers, minlength=classes).tolist()
        right = np.bincount(answers[targets == answers], minlength=classes).tolist()
        figures = {
            label: ClassFigures(
                counts[k], right[k] / counts[k] if counts[k] else None, right[k] / answered[k] if answered[k] else None
            )
            for k, label in enumerate(self._labels)
        }
        return figures | {label: ClassFigures(n, 0.0, None) for label, n in self._unknown_labels.items()}

    def _confusion(self, targets: NDArray[np.int32], answers: NDArray[np.int32]) -> NDArray[np.int64] | None:
        classes = len(self._labels)
        if classes > MAX_CONFUSION:
            return None
        known = targets >= 0
        cells = targets[known].astype(np.intp) * classes + answers[known]
        return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def evaluate(probabilities: Float32, truth: Sequence[str], labels: Sequence[str]) -> Evaluation:
    """The figures of a head with `labels` K that answered `probabilities` [N, K] to pictures of `truth` N."""
    tally = Tally(labels)
    tally.add(probabilities, truth)
    return tally.evaluation()
