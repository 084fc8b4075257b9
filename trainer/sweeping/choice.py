"""Which setting to take: the lowest validation loss without a gap to the training loss that grows (the study's way)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainer.sweeping.sweep import Curve, Point

GROWTH = 0.05  # of the validation loss: a gap that opened by more since that loss was lowest grows


@dataclass(frozen=True)
class Assessment:
    """What is said of one setting."""

    name: str
    val_loss: float | None  # at the end; None where it diverged
    val_top1: float | None
    gap: float | None  # validation loss less training loss, at the end
    lowest_at: int | None  # the step of the lowest validation loss
    grew: float | None  # the gap, since that step: from there on it opens to no avail
    overfits: bool  # the gap grows
    words: str


@dataclass(frozen=True)
class Pick:
    picked: str | None  # the name of a setting; None where all diverged
    reason: str
    steps: int | None  # to train with it: all, or as many as led to its lowest validation loss
    verdicts: tuple[Assessment, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "picked": self.picked,
            "reason": self.reason,
            "picked_steps": self.steps,
            "verdicts": [vars(verdict) for verdict in self.verdicts],
        }


def gap(point: Point) -> float:
    return point.val.loss - point.train.loss


def judged(curve: Curve) -> Assessment:
    name = str(curve.setting)
    if curve.diverged or not curve.points:
        return Assessment(name, None, None, None, None, None, True, "it diverged: the loss was not finite any more")
    last = curve.points[-1]
    lowest = min(curve.points, key=lambda point: point.val.loss)
    grew = gap(last) - gap(lowest)
    overfits = grew > GROWTH * last.val.loss
    words = f"validation loss {last.val.loss:.3f}, top-1 {last.val.top1:.3f}, gap to the training loss {gap(last):.3f}"
    if lowest is not last:
        words += (
            f"; the loss was lowest at step {lowest.step:,}, {lowest.val.loss:.3f}, with a gap of {gap(lowest):.3f}"
            + (": it grows" if overfits else "")
        )
    return Assessment(name, last.val.loss, last.val.top1, gap(last), lowest.step, grew, overfits, words)


def choose(curves: Sequence[Curve]) -> Pick:
    """By what the curves are at their end."""
    verdicts = tuple(map(judged, curves))
    alive = [(verdict, verdict.val_loss) for verdict in verdicts if verdict.val_loss is not None]
    if not alive:
        return Pick(None, "all settings diverged: try lower learning rates", None, verdicts)
    steady = [(verdict, loss) for verdict, loss in alive if not verdict.overfits]
    picked, loss = min(steady or alive, key=lambda each: each[1])
    steps: int | None = next(curve.points[-1].step for curve in curves if str(curve.setting) == picked.name)
    lower = [verdict.name for verdict, other in alive if other < loss]
    if not steady:
        steps = picked.lowest_at
        reason = (
            f"{picked.name} has the lowest validation loss, {loss:.3f}; but the gap between training and validation "
            f"grows for every setting: train for fewer steps, about {steps:,}"
        )
    else:
        reason = f"{picked.name} has the lowest validation loss, {loss:.3f}, of the settings whose gap does not grow"
        if lower:
            reason += (
                f"; {', '.join(lower)} reached a lower one, but with a gap between training and validation that grows"
            )
    return Pick(picked.name, reason, steps, verdicts)
