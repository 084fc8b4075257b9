import json
import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.reporting.summary import ACCURACY, LONGEST_MS, SHORTEST_MS, Summary

durations = st.floats(0, 1e9)
samples = st.lists(durations, min_size=1, max_size=200)


def summed(values: list[float]) -> Summary:
    summary = Summary()
    for value in values:
        summary.add(value, 1)
    return summary


def near(value: float, scale: float) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-9 * scale + 1e-12)


@given(samples)
def test_it_agrees_with_the_statistics_module(values: list[float]) -> None:
    summary = summed(values)
    assert summary.count == summary.images == len(values)
    assert summary.mean == near(statistics.fmean(values), max(values))
    assert summary.std == near(statistics.stdev(values) if len(values) > 1 else 0.0, max(values))
    assert (summary.min, summary.max) == (min(values), max(values))


@given(samples, st.sampled_from([1, 50, 95, 99, 100]))
def test_percentiles_are_within_the_stated_accuracy(values: list[float], percent: int) -> None:
    exact = float(np.percentile(values, percent, method="inverted_cdf"))
    assert summed(values).percentile(percent) == pytest.approx(exact, rel=ACCURACY * 1.001, abs=2 * SHORTEST_MS)


@given(samples, samples)
def test_merging_is_the_same_as_adding_all(first: list[float], second: list[float]) -> None:
    merged, at_once = summed(first), summed(first + second)
    merged.merge(summed(second))
    assert merged.mean == near(at_once.mean, at_once.max)
    assert merged.std == near(at_once.std, at_once.max)
    assert (merged.count, merged.images, merged.min, merged.max, merged.buckets) == (
        at_once.count,
        at_once.images,
        at_once.min,
        at_once.max,
        at_once.buckets,
    )


@given(samples)
def test_json_and_back_loses_nothing(values: list[float]) -> None:
    summary = summed(values)
    assert Summary.from_dict(json.loads(json.dumps(summary.as_dict()))) == summary


def test_a_mean_far_from_zero_keeps_its_deviation() -> None:
    # The naive Σx² - (Σx)²/n gives 0 or worse here.
    summary = summed([1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16])
    assert summary.std == pytest.approx(math.sqrt(30))


def test_memory_does_not_grow_with_the_samples() -> None:
    summary = Summary()
    for value in np.random.default_rng(1).lognormal(0, 5, size=100_000):
        summary.add(float(value), 1)
    assert len(summary.buckets) <= 2073
    for value in np.geomspace(SHORTEST_MS / 10, LONGEST_MS, 10_000):
        summary.add(float(value), 1)
    assert len(summary.buckets) == 2073


@pytest.mark.parametrize("ms", [-1e-9, math.nan, math.inf, 2e12])
def test_what_is_no_duration_is_refused_and_leaves_no_trace(ms: float) -> None:
    summary = Summary()
    with pytest.raises(ValueError, match="no duration"):
        summary.add(ms, 1)
    assert summary == Summary()


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
pairs = st.lists(st.lists(scalars, max_size=3), max_size=3)


@given(st.dictionaries(st.sampled_from(list(Summary().as_dict())), scalars | pairs))
def test_rubbish_is_refused_with_a_value_error(changes: dict[str, object]) -> None:
    payload = {**summed([1.0, 2.0]).as_dict(), **changes}
    try:
        summary = Summary.from_dict(payload)
    except ValueError:
        return
    assert 0 <= summary.percentile(50) <= summary.percentile(95) <= LONGEST_MS
    assert math.isfinite(summary.std)
