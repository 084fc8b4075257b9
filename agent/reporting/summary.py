"""Count, mean, deviation and percentiles of durations, in memory that does not grow."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ACCURACY = 0.01  # of percentiles, relative
SHORTEST_MS = 1e-6  # shorter ones are not told apart; clocks do not resolve them either
LONGEST_MS = 1e12  # 31 years

_RATIO = (1 + ACCURACY) / (1 - ACCURACY)
_PER_LOG = 1 / math.log(_RATIO)
_FIRST = math.ceil(math.log(SHORTEST_MS) * _PER_LOG)
_LAST = math.ceil(math.log(LONGEST_MS) * _PER_LOG)


@dataclass(slots=True)
class Summary:
    """A stream of durations in ms.

    Count, mean, standard deviation, minimum and maximum are exact (Welford 1962; merging:
    Chan, Golub, LeVeque 1979). Percentiles come from a histogram of buckets that grow by a
    constant ratio (Masson, Rim, Lee, DDSketch, 2019): within ACCURACY of the sample at that
    rank, or 2 ns. At most 2073 buckets exist, whatever comes.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0  # Σ (x - mean)²
    min: float = math.inf
    max: float = 0.0
    images: int = 0
    buckets: dict[int, int] = field(default_factory=dict)  # i → samples in (ratio^(i-1), ratio^i] ms

    def add(self, ms: float, images: int) -> None:
        """Raises ValueError if ms is negative, not finite, or longer than LONGEST_MS."""
        if not 0.0 <= ms <= LONGEST_MS:
            raise ValueError(f"{ms!r} ms is no duration")
        ms = float(ms)  # not an int or a NumPy scalar: what goes out is JSON with one type for each key
        self.count += 1
        difference = ms - self.mean
        self.mean += difference / self.count
        self.squares += difference * (ms - self.mean)
        if ms < self.min:
            self.min = ms
        if ms > self.max:
            self.max = ms
        self.images += int(images)
        bucket = math.ceil(math.log(ms) * _PER_LOG) if ms > SHORTEST_MS else _FIRST
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1

    def merge(self, other: "Summary") -> None:
        """As if all that other was given had been added here."""
        count = self.count + other.count
        if not other.count:
            return
        difference = other.mean - self.mean
        self.mean += difference * other.count / count
        self.squares += other.squares + difference * difference * self.count * other.count / count
        self.count = count
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)
        self.images += other.images
        for bucket, samples in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + samples

    @property
    def std(self) -> float:
        """Standard deviation of the sample; 0 for fewer than two."""
        return math.sqrt(self.squares / (self.count - 1)) if self.count > 1 else 0.0

    def percentile(self, percent: int) -> float:
        """The duration that at least so many per cent of the samples do not exceed (nearest rank)."""
        rank = -(-percent * self.count // 100)
        for bucket in sorted(self.buckets):
            rank -= self.buckets[bucket]
            if rank <= 0:
                middle = 2 * _RATIO**bucket / (_RATIO + 1)  # ACCURACY away from either end
                return min(max(middle, self.min), self.max)
        raise ValueError("no samples")

    def at_most(self, bounds_ms: Sequence[float]) -> list[int]:
        """How many samples do not exceed each of the bounds, which ascend; a bound is off by 2 * ACCURACY at most."""
        counts, so_far, buckets = [], 0, sorted(self.buckets.items(), reverse=True)
        for bound in bounds_ms:
            last = math.floor(math.log(bound) * _PER_LOG + 0.5)  # the bucket whose end is next to the bound
            while buckets and buckets[-1][0] <= last:
                so_far += buckets.pop()[1]
            counts.append(so_far)
        return counts

    def copy(self) -> "Summary":
        other = Summary()
        other.merge(self)
        return other

    def as_dict(self) -> dict[str, Any]:
        """For another process: JSON, and nothing lost."""
        return {
            "count": self.count,
            "mean": self.mean,
            "squares": self.squares,
            "min": self.min,
            "max": self.max,
            "images": self.images,
            "buckets": [[bucket, samples] for bucket, samples in self.buckets.items()],
        }

    @classmethod
    def from_dict(cls, payload: Mapping[str, Any]) -> "Summary":
        """The inverse of as_dict; raises ValueError if it is not one."""
        try:
            buckets = {int(bucket): int(samples) for bucket, samples in payload["buckets"]}
            count, images = int(payload["count"]), int(payload["images"])
            mean, squares, low, high = (float(payload[name]) for name in ("mean", "squares", "min", "max"))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"no summary of durations: {payload!r:.60}") from error
        whole = 0 < count == sum(buckets.values()) and min(buckets.values()) > 0
        within = _FIRST <= min(buckets, default=_FIRST) <= max(buckets, default=_LAST) <= _LAST
        if not (
            whole and within and 0 <= low <= high <= LONGEST_MS and 0 <= mean <= LONGEST_MS and 0 <= squares < math.inf
        ):
            raise ValueError(f"no summary of durations: {payload!r:.60}")
        return cls(count, mean, squares, low, high, images, buckets)
