"""Measurements, and what they say about work that was not done."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from agent.reporting.timing import Timer

Condition = str | int | float | bool


@dataclass(frozen=True)
class Measurement:
    """A phase, timed n times in ms. The conditions tell measurements of one phase apart."""

    phase: str
    mean_ms: float
    std_ms: float  # of the sample; 0 for a single one
    min_ms: float
    p50_ms: float  # nearest rank
    p95_ms: float
    max_ms: float
    n: int
    images: int  # in each of the n
    conditions: dict[str, Condition] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Projection:
    """What one of the study's totals takes here: measured as a whole, or extrapolated from a part of it."""

    phase: str
    classes: int
    images: int
    mean_ms: float
    std_ms: float | None  # None where it is extrapolated, or was done once
    n: int  # how often it was done as a whole
    extrapolated: bool
    from_images: int  # how many were really worked on
    parts_ms: dict[str, float] = field(default_factory=dict)  # phases that mean_ms is made of, without the rest

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Samples(Timer):
    """Keeps every duration, by phase."""

    def __init__(self) -> None:
        self.ms: dict[str, list[float]] = {}

    def add(self, phase: str, ms: float, images: int = 1) -> None:
        self.ms.setdefault(phase, []).append(ms)

    def count(self, phase: str) -> int:
        return len(self.ms.get(phase, ()))

    def total(self, phase: str) -> float:
        return sum(self.ms.get(phase, ()))


def summarised(
    phase: str, ms: Sequence[float], images: int = 1, conditions: Mapping[str, Condition] | None = None
) -> Measurement:
    """Raises ValueError for no samples at all."""
    if not ms:
        raise ValueError(f"{phase} was not measured")
    ordered = sorted(ms)

    def percentile(percent: int) -> float:
        return ordered[math.ceil(percent * len(ordered) / 100) - 1]

    std = statistics.stdev(ordered) if len(ordered) > 1 else 0.0
    mean = statistics.fmean(ordered)
    return Measurement(
        phase,
        mean,
        std,
        ordered[0],
        percentile(50),
        percentile(95),
        ordered[-1],
        len(ordered),
        images,
        dict(conditions or {}),
    )


def repeated(call: Callable[[], object], phase: str, times: int) -> list[float]:
    """How long each of so many calls takes in ms, after one that does not count."""
    samples = Samples()
    call()
    for _ in range(times):
        with samples.phase(phase):
            call()
    return samples.ms[phase]


def corpus(picture: Measurement, classes: int, images_a_class: int) -> Projection:
    """The bottlenecks of all pictures of so many classes, one after the other, from the mean time of one."""
    images = classes * images_a_class
    return Projection(picture.phase, classes, images, picture.mean_ms * images, None, 0, True, picture.n)


def extrapolated_epoch(
    part: Samples, part_images: int, validation_ms: float, classes: int, images: int, batch: int, validate_every: int
) -> Projection:
    """An epoch of `images`, from the phases of one of `part_images` that was not validated.

    The time of an image stays the same; a validation comes every so many batches.
    """
    factor = images / part_images
    validations = images // (batch * validate_every)
    parts = {phase: part.total(phase) * factor for phase in ("file_access", "training")}
    parts["validation"] = validation_ms * validations
    total = part.total("epoch") * factor + parts["validation"]
    return Projection("epoch", classes, images, total, None, 0, True, part_images, parts)
