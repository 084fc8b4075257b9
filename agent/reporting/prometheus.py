"""Figures as Prometheus reads them: OpenMetrics 1.0, or its older text format.

https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md. prometheus-client would write the
same for 1.4 MB of memory and twice the time; the families and their bounds would have to be said here all the same.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from agent.reporting.summary import Summary

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)

Kind = Literal["counter", "gauge", "histogram", "info"]


@dataclass(frozen=True, slots=True)
class Sample:
    suffix: str
    labels: Mapping[str, str]
    value: float


@dataclass(slots=True)
class Family:
    """Samples of one name. That of a counter ends in _total, of an info in _info; it is added here."""

    name: str
    kind: Kind
    help: str
    samples: list[Sample] = field(default_factory=list)

    def add(self, value: float | None, **labels: str) -> "Family":
        """None adds nothing: what is not known is not 0."""
        if value is not None and math.isfinite(value):
            suffix = {"counter": "_total", "info": "_info"}.get(self.kind, "")
            self.samples.append(Sample(suffix, labels, value))
        return self

    def add_histogram(self, summary: Summary, **labels: str) -> "Family":
        """Durations, in seconds. The bounds of its buckets are off by 2 % at most: see Summary.at_most."""
        counts = summary.at_most([1000 * bound for bound in BOUNDS_S])
        buckets = zip([_number(bound) for bound in BOUNDS_S] + ["+Inf"], [*counts, summary.count], strict=True)
        self.samples += [Sample("_bucket", {**labels, "le": bound}, count) for bound, count in buckets]
        self.samples.append(Sample("_count", labels, summary.count))
        self.samples.append(Sample("_sum", labels, summary.mean * summary.count / 1000))
        return self


def exposition(families: Iterable[Family], *, openmetrics: bool) -> bytes:
    """The families as text; those without samples are left out."""
    lines = []
    for family in families:
        if not family.samples:
            continue
        name, kind = family.name, str(family.kind)
        if not openmetrics:  # there a family is called as its samples are, and knows no info
            name += {"counter": "_total", "info": "_info"}.get(kind, "")
            kind = "gauge" if kind == "info" else kind
        lines.append(f"# HELP {name} {_escaped(family.help, quotes=openmetrics)}")
        lines.append(f"# TYPE {name} {kind}")
        for sample in family.samples:
            labels = ",".join(f'{label}="{_escaped(text)}"' for label, text in sample.labels.items())
            within = f"{{{labels}}}" if labels else ""
            lines.append(f"{family.name}{sample.suffix}{within} {_number(sample.value)}")
    if openmetrics:
        lines.append("# EOF")
    return "\n".join([*lines, ""]).encode()


def _escaped(text: str, *, quotes: bool = True) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace('"', '\\"') if quotes else escaped


def _number(value: float) -> str:
    return str(int(value)) if isinstance(value, int) or value.is_integer() else repr(float(value))
