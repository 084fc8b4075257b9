"""What `lastlayer retrain` says while it runs."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from agent.learning.training.progress import Progress

if TYPE_CHECKING:
    from tqdm import tqdm


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


class Reporter:
    """Progress on stderr: JSON lines for a program, a bar for a person at a terminal."""

    def __init__(self, as_json: bool, pace: Pace) -> None:
        self._as_json = as_json
        self._pace = pace
        self._bar: tqdm[Any] | None = None
        self._stage = ""

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def report(self, progress: Progress) -> None:
        if self._as_json:
            line = {"event": "progress", **_flat(progress), "eta_s": round(self._pace.eta_s(progress), 1)}
            print(json.dumps(line), file=sys.stderr, flush=True)
            return
        if progress.stage != self._stage:
            self.__exit__()
            self._stage = progress.stage
            from tqdm import tqdm  # not for a program: the retraining of a service goes without it

            self._bar = tqdm(
                desc=progress.stage, total=progress.steps, file=sys.stderr, disable=not sys.stderr.isatty()
            )
        if self._bar is not None:
            self._bar.update(progress.step - self._bar.n)


def _flat(progress: Progress) -> dict[str, Any]:
    point = asdict(progress.point) if progress.point else {}
    return {**point, "stage": progress.stage, "step": progress.step, "steps": progress.steps}
