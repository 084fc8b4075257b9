import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from agent.reporting.prometheus import BOUNDS_S, Family, exposition
from agent.reporting.summary import Summary


def summary(*durations_ms: float) -> Summary:
    made = Summary()
    for ms in durations_ms:
        made.add(ms, 1)
    return made


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False), st.lists(st.floats(0, 1e12), max_size=20))
def test_both_formats_say_the_same(label: str, value: float, durations_ms: list[float]) -> None:
    families = [
        Family("a_build", "info", 'What "runs"\nhere \\ there.').add(1, version=label),
        Family("a_frames", "counter", "Frames.").add(abs(value), source=label).add(3, source=f"{label}x"),
        Family("a_level", "gauge", "Level.").add(value),
        Family("a_nothing", "gauge", "Not known.").add(None).add(math.nan),
        Family("a_seconds", "histogram", "Times.").add_histogram(summary(*durations_ms), phase=label),
    ]
    openmetrics = list(parse_openmetrics(exposition(families, openmetrics=True).decode()))
    text = list(parse_text(exposition(families, openmetrics=False).decode()))
    assert [(family.name, family.type) for family in openmetrics] == [
        ("a_build", "info"),
        ("a_frames", "counter"),
        ("a_level", "gauge"),
        ("a_seconds", "histogram"),
    ]
    assert openmetrics[0].documentation == 'What "runs"\nhere \\ there.'
    samples = [[(s.name, s.labels, s.value) for family in read for s in family.samples] for read in (openmetrics, text)]
    assert samples[0] == samples[1]
    assert ("a_frames_total", {"source": label}, abs(value)) in samples[0]
    assert ("a_seconds_count", {"phase": label}, len(durations_ms)) in samples[0]


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=100))
def test_a_bucket_holds_what_does_not_exceed_it_by_two_per_cent(durations_ms: list[float]) -> None:
    counts = summary(*durations_ms).at_most([1000 * bound for bound in BOUNDS_S])
    for bound, count in zip(BOUNDS_S, counts, strict=True):
        assert sum(ms <= 980 * bound for ms in durations_ms) <= count <= sum(ms <= 1020 * bound for ms in durations_ms)


def test_times_are_in_seconds() -> None:
    family = Family("a_seconds", "histogram", "Times.").add_histogram(summary(20, 40))
    said = {sample.suffix: sample.value for sample in family.samples}
    assert said["_count"] == 2
    assert said["_sum"] == pytest.approx(0.06)
