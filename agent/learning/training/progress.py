"""What a training says while it runs: where it is, how long it will still take, and how long its phases took."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent.errors import TrainingError
from agent.learning.training.checkpoint import Checkpoint
from agent.reporting.timing import Timer


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A point of the curves. Loss and training top-1 are means over the steps since the point before."""

    step: int
    loss: float
    train_top1: float
    val_top1: float | None  # None where there are no validation examples
    val_top5: float | None


@dataclass(frozen=True, slots=True)
class Progress:
    stage: str  # "reading", "closed forms", "adam", "sgd" or "validation"
    step: int
    steps: int  # at most so many; early stopping may end a stage sooner
    point: CurvePoint | None = None
    resumed: int = 0  # how many of the steps were done before a kill


class Pace:
    """How long a stage will still take, at its pace so far; pauses do not count."""

    def __init__(
        self, paused_s: Callable[[], float] = lambda: 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._paused_s = paused_s
        self._clock = clock
        self._stage = ""
        self._began = self._last = self._now()

    def eta_s(self, progress: Progress) -> float:
        """In seconds. To be asked at every progress, so that a stage begins where the one before ended."""
        if progress.stage != self._stage or progress.step <= 1:
            self._stage, self._began = progress.stage, self._last
        self._last = self._now()
        done = max(progress.step - progress.resumed, 1)  # in this process
        return (self._last - self._began) / done * (progress.steps - progress.step)

    def _now(self) -> float:
        return self._clock() - self._paused_s()


@dataclass(slots=True)
class PhaseTotal:
    count: int = 0
    total_ms: float = 0.0
    images: int = 0


class Phases(Timer):
    """Sums up the phases of one training and passes each on to `timings`. For one thread."""

    def __init__(self, timings: Timer | None = None) -> None:
        self.totals: dict[str, PhaseTotal] = {}
        self._timings = timings

    def add(self, phase: str, ms: float, images: int = 1) -> None:
        total = self.totals.setdefault(phase, PhaseTotal())
        total.count += 1
        total.total_ms += ms
        total.images += images
        if self._timings is not None:
            self._timings.add(phase, ms, images)

    def as_dict(self) -> dict[str, Any]:
        return {
            phase: {
                "count": total.count,
                "images": total.images,
                "total_ms": total.total_ms,
                "mean_ms": total.total_ms / total.count,
            }
            for phase, total in self.totals.items()
        }


class Watch:
    """What looks on while a head is trained."""

    def __init__(
        self,
        timings: Timer | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.phases = Phases(timings)
        self.checkpoint = checkpoint
        self._on_progress = on_progress
        self._should_stop = should_stop

    def check(self) -> None:
        """Raises TrainingError if somebody asked to stop."""
        if self._should_stop is not None and self._should_stop():
            raise TrainingError("the training was stopped before there was a new head; nothing has changed")

    def progress(self, progress: Progress) -> None:
        """Raises TrainingError if somebody asked to stop."""
        self.check()
        if self._on_progress is not None:
            self._on_progress(progress)
