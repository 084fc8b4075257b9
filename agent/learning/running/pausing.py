"""When a retraining should pause: the board is too hot, memory is short, or frames take too long.

Each condition holds until it has passed by a distance, so that a pause does not flicker.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.learning.running.retraining import Retraining
from agent.records import Seen
from agent.reporting import host

WORK = ("decode", "session_run", "result_processing")  # all that is done for a frame; `bottleneck` is in session_run
COOLER_C = 5.0
MORE_BYTES = 1.25  # times the limit
# Nothing can be said of how fast frames would be with the retraining while it pauses: after so long it is tried again.
LATENCY_PAUSE_S = 10.0
LEAST_FRAMES = 20
QUIET_FRAMES = 200


@dataclass(frozen=True, slots=True)
class Limits:
    """Beyond which a retraining pauses."""

    above_c: float = 80.0
    below_free_bytes: int = 32 << 20
    latency_factor: float = 3.0  # 0: however long frames take


class Latency:
    """How long frames take beside a retraining, as a multiple of what they take without. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._quiet: deque[float] = deque(maxlen=QUIET_FRAMES)
        self._disturbed: deque[float] = deque(maxlen=2 * LEAST_FRAMES)

    def add(self, ms: float, *, disturbed: bool) -> None:
        """The work on one frame, while a retraining ran or not."""
        with self._lock:
            (self._disturbed if disturbed else self._quiet).append(ms)

    def forget_disturbed(self) -> None:
        with self._lock:
            self._disturbed.clear()

    def factor(self) -> float | None:
        """95th percentile by 95th percentile; None before there are 20 frames of each kind."""
        with self._lock:
            quiet, disturbed = sorted(self._quiet), sorted(self._disturbed)
        if min(len(quiet), len(disturbed)) < LEAST_FRAMES:
            return None
        return _p95(disturbed) / max(_p95(quiet), 1e-6)


class Conditions:
    """Asked about once a second, by one thread, while a retraining is under way. `latency` is told of each frame."""

    def __init__(
        self,
        limits: Limits,
        temperature_c: Callable[[], float | None] = host.temperature_c,
        free_bytes: Callable[[], int | None] = host.free_bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self.latency = Latency()
        self._temperature_c = temperature_c
        self._free_bytes = free_bytes
        self._clock = clock
        self._hot = self._short = False
        self._slow_until = -float("inf")

    def reason_to_pause(self) -> str | None:
        """Why a retraining should not go on just now; None if it may."""
        reasons = [self._heat(), self._memory(), self._frames()]
        return "; ".join(filter(None, reasons)) or None

    def _heat(self) -> str | None:
        limit = self._limits.above_c
        temperature = self._temperature_c()
        if temperature is None:
            return None
        self._hot = temperature > limit - (COOLER_C if self._hot else 0.0)
        return f"the board is too hot: {temperature:.0f} °C, the limit is {limit:g}" if self._hot else None

    def _memory(self) -> str | None:
        limit = self._limits.below_free_bytes
        free = self._free_bytes()
        if free is None:
            return None
        self._short = free < limit * (MORE_BYTES if self._short else 1.0)
        return f"memory is short: {free >> 20} MB are free, the limit is {limit >> 20}" if self._short else None

    def _frames(self) -> str | None:
        limit = self._limits.latency_factor
        if not limit:
            return None
        now = self._clock()
        factor = self.latency.factor()
        if factor is not None and factor > limit:
            self._slow_until = now + LATENCY_PAUSE_S
            self.latency.forget_disturbed()
        if now >= self._slow_until:
            return None
        return f"frames took more than {limit:g} times as long as without it"


class Pausing:
    """Lets the retraining that is under way pause where the board has something better to do, and go on afterwards."""

    def __init__(self, retrainings: Sequence[Retraining], conditions: Conditions) -> None:
        self._retrainings = retrainings
        self._conditions = conditions

    def watch_frame(self, seen: Seen) -> None:
        """Note how long the work on a frame took, and whether a retraining ran beside it. Thread-safe."""
        if seen.result.skipped:
            return
        work_ms = sum(seen.result.timings_ms.get(phase, 0.0) for phase in WORK)
        self._conditions.latency.add(work_ms, disturbed=any(each.is_running for each in self._retrainings))

    def look(self) -> None:
        """To be called every second, by one thread."""
        under_way = [each for each in self._retrainings if each.is_under_way]
        if not under_way:
            self._conditions.latency.forget_disturbed()
            return
        reason = self._conditions.reason_to_pause()
        for retraining in under_way:
            if reason is None:
                retraining.resume()
            else:
                retraining.pause(reason)


def _p95(ascending: list[float]) -> float:
    return ascending[-(-95 * len(ascending) // 100) - 1]
