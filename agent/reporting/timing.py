"""How long every phase took: timed where it happens, summed up over a window.

    watch = Stopwatch()                     one frame
    with watch.phase("decode"):
        ...
    timings.record(watch)                   the process

    with timings.phase("training", images=100):
        ...
    for report in timings.reports():        closes the window
        ...

Both are a Timer, so what is timed need not know whose clock it is given. A phase that
ends with an exception is not counted: it did not do what its name says.
"""

import platform
import re
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from agent.reporting.summary import Summary

Role = Literal["agent", "trainer"]

_PHASE = re.compile(r"[a-z][a-z0-9_]{0,63}")  # becomes part of a topic


class Lap:
    """A phase that is being timed; ms holds its duration once it is over."""

    __slots__ = ("_add", "_began", "_images", "_phase", "ms")

    def __init__(self, add: Callable[[str, float, int], None], phase: str, images: int) -> None:
        self._add = add
        self._phase = phase
        self._images = images
        self.ms = 0.0

    def __enter__(self) -> "Lap":
        self._began = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.ms = (time.monotonic() - self._began) * 1000.0
        if kind is None:
            self._add(self._phase, self.ms, self._images)


class Timer(ABC):
    """What phases are timed with."""

    @abstractmethod
    def add(self, phase: str, ms: float, images: int = 1) -> None:
        """Counts a phase that took ms milliseconds and went over so many images."""

    def phase(self, name: str, images: int = 1) -> Lap:
        """Times the block of a with statement."""
        return Lap(self.add, name, images)


class Stopwatch(Timer):
    """The phases of one piece of work, in the order in which they ended. Not for several threads at once."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}  # phase → milliseconds; a phase that comes twice is added up

    def add(self, phase: str, ms: float, images: int = 1) -> None:
        self.ms[phase] = self.ms.get(phase, 0.0) + ms


@dataclass(frozen=True, slots=True)
class TimingReport:
    """One phase over one window. Times in ms; percentiles as Summary gives them."""

    phase: str
    count: int
    mean_ms: float
    std_ms: float  # of the sample; 0 for a single one
    min_ms: float
    p50_ms: float
    p95_ms: float
    max_ms: float
    images: int
    window_s: float
    node: str
    role: Role
    platform: str
    ts: int  # wall clock at the end of the window, unix ms
    seq: int  # the how manieth report of this phase by this process, from 1: a gap is a loss

    def as_dict(self) -> dict[str, Any]:
        """Flat. Durations are floats and counts are ints, always: time-series stores fix a type at first sight."""
        return asdict(self)

    @classmethod
    def from_dict(cls, payload: Mapping[str, Any]) -> "TimingReport":
        """The inverse of as_dict; raises ValueError if it is not one."""
        values: dict[str, Any] = {}
        for name, kind in ((field.name, field.type) for field in fields(cls)):
            value = payload.get(name)
            if kind is float and type(value) is int:
                value = float(value)
            if value not in get_args(Role) if kind is Role else type(value) is not kind:
                raise ValueError(f"a timing report with {name} = {value!r:.60}")
            values[name] = value
        return cls(**values)


class Timings(Timer):
    """The phases of a process, summed up over a window and since the start. For any number of threads.

    Memory does not grow with the number of samples, only with that of phases.
    """

    def __init__(self, *, node: str, runtime: str, role: Role = "agent") -> None:
        """runtime is the family of the TFLite runtime, or of whatever else does the work."""
        self.node = node
        self._role = role
        self.platform = platform_name(runtime)
        self._lock = threading.Lock()
        self._window: dict[str, Summary] = {}
        self._total: dict[str, Summary] = {}  # without the open window
        self._seq: dict[str, int] = {}
        self._started = self._opened = time.monotonic()

    def add(self, phase: str, ms: float, images: int = 1) -> None:
        """Raises ValueError if the phase has no proper name or ms is not a duration."""
        with self._lock:
            summary = self._window.get(phase) or _first(phase)
            summary.add(ms, images)
            self._window[phase] = summary

    def record(self, watch: Stopwatch) -> None:
        """Adds all phases of one frame."""
        for phase, ms in watch.ms.items():
            self.add(phase, ms)

    def merge(self, phases: Mapping[str, Any]) -> None:
        """Adds what another process has drained. Raises ValueError, with nothing added, if it is not that."""
        summaries = [(phase, Summary.from_dict(summary), _first(phase)) for phase, summary in phases.items()]
        with self._lock:
            for phase, summary, first in summaries:
                self._window.setdefault(phase, first).merge(summary)

    def drain(self) -> dict[str, Any]:
        """Closes the window and returns it for merge, losing nothing: JSON, a few kB."""
        return {phase: summary.as_dict() for phase, summary in self._close()[0].items()}

    def reports(self) -> list[TimingReport]:
        """Closes the window: one report for every phase that ended in it."""
        window, window_s = self._close()
        with self._lock:
            for phase in window:
                self._seq[phase] = self._seq.get(phase, 0) + 1
            return self._reported(window, window_s)

    def since_start(self) -> list[TimingReport]:
        """One report for every phase so far. Leaves the window open; seq is that of the last report, or 0."""
        sums = self.sums()
        with self._lock:
            return self._reported(sums, time.monotonic() - self._started)

    def sums(self) -> dict[str, Summary]:
        """Every phase so far, since the start. Leaves the window open."""
        with self._lock:
            sums = {phase: summary.copy() for phase, summary in self._total.items()}
            for phase, summary in self._window.items():
                sums.setdefault(phase, Summary()).merge(summary)
            return sums

    def _close(self) -> tuple[dict[str, Summary], float]:
        """The window that ends now, in seconds too."""
        with self._lock:
            window, self._window = self._window, {}
            now = time.monotonic()
            window_s, self._opened = now - self._opened, now
            for phase, summary in window.items():
                self._total.setdefault(phase, Summary()).merge(summary)
        return window, window_s

    def _reported(self, sums: Mapping[str, Summary], window_s: float) -> list[TimingReport]:
        ts = time.time_ns() // 1_000_000
        return [
            TimingReport(
                phase=phase,
                count=summary.count,
                mean_ms=summary.mean,
                std_ms=summary.std,
                min_ms=summary.min,
                p50_ms=summary.percentile(50),
                p95_ms=summary.percentile(95),
                max_ms=summary.max,
                images=summary.images,
                window_s=window_s,
                node=self.node,
                role=self._role,
                platform=self.platform,
                ts=ts,
                seq=self._seq.get(phase, 0),
            )
            for phase, summary in sums.items()
        ]


def _first(phase: str) -> Summary:
    """The summary of a phase that is new to a window."""
    if not _PHASE.fullmatch(phase):
        raise ValueError(f"a phase is named by small letters, digits and _, unlike {phase!r:.60}")
    return Summary()


def platform_name(runtime: str) -> str:
    """Such as linux-armv7l-python3.11-tflite_runtime."""
    return f"{sys.platform}-{platform.machine()}-python{sys.version_info[0]}.{sys.version_info[1]}-{runtime}"


def table(reports: Iterable[TimingReport]) -> str:
    """Reports as text for a person: one line a phase, times in ms."""
    rows = [["phase", "count", "mean ms", "std", "min", "p50", "p95", "max", "images"]]
    for r in reports:
        times = (r.mean_ms, r.std_ms, r.min_ms, r.p50_ms, r.p95_ms, r.max_ms)
        rows.append([r.phase, str(r.count), *(f"{ms:.3f}" for ms in times), str(r.images)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
