import json
import re
import statistics
import threading
import time
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.reporting.summary import ACCURACY
from agent.reporting.timing import Stopwatch, Timer, TimingReport, Timings, table

samples = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=50)


@pytest.fixture
def timings() -> Timings:
    return Timings(node="porch", runtime="tflite")


@pytest.mark.parametrize("kind", ["stopwatch", "timings"])
def test_a_phase_is_timed_by_either_timer(kind: str, timings: Timings) -> None:
    watch = Stopwatch()
    timer: Timer = watch if kind == "stopwatch" else timings
    began = time.monotonic()
    with timer.phase("decode") as lap:
        while time.monotonic() - began < 0.005:
            pass
    outside_ms = (time.monotonic() - began) * 1000
    assert 4.9 < lap.ms <= outside_ms
    measured = watch.ms["decode"] if kind == "stopwatch" else timings.reports()[0].mean_ms
    assert measured == lap.ms


@pytest.mark.parametrize("timer", [Stopwatch(), Timings(node="porch", runtime="tflite")])
def test_a_phase_that_fails_is_not_counted(timer: Timer) -> None:
    with pytest.raises(ZeroDivisionError), timer.phase("decode"):
        raise ZeroDivisionError
    assert not (timer.ms if isinstance(timer, Stopwatch) else timer.reports())  # type: ignore[attr-defined]


def test_a_stopwatch_keeps_the_order_and_adds_up_repeated_phases(timings: Timings) -> None:
    watch = Stopwatch()
    for phase, ms in (("decode", 1.0), ("bottleneck", 5.0), ("decode", 2.0)):
        watch.add(phase, ms)
    assert list(watch.ms.items()) == [("decode", 3.0), ("bottleneck", 5.0)]
    timings.record(watch)
    assert [(r.phase, r.count, r.mean_ms) for r in timings.reports()] == [("decode", 1, 3.0), ("bottleneck", 1, 5.0)]


@given(samples)
def test_a_report_agrees_with_the_statistics_module(values: list[float]) -> None:
    timings = Timings(node="porch", runtime="tflite", role="trainer")
    for value in values:
        timings.add("training", value, images=100)
    (report,) = timings.reports()
    assert (report.phase, report.count, report.images) == ("training", len(values), 100 * len(values))
    assert (report.min_ms, report.max_ms) == (min(values), max(values))
    assert report.mean_ms == pytest.approx(statistics.fmean(values))
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    assert report.std_ms == pytest.approx(deviation, rel=1e-6, abs=1e-9 * max(values))
    for percent, percentile in ((50, report.p50_ms), (95, report.p95_ms)):
        exact = float(np.percentile(values, percent, method="inverted_cdf"))
        assert percentile == pytest.approx(exact, rel=ACCURACY * 1.001)
    assert (report.node, report.role) == ("porch", "trainer")


def test_a_window_ends_with_its_reports_and_the_total_goes_on(timings: Timings) -> None:
    timings.add("decode", 1.0)
    timings.add("decode", 3.0)
    assert [r.count for r in timings.reports()] == [2]
    assert timings.reports() == []
    timings.add("decode", 5.0)
    (total,) = timings.since_start()
    assert (total.count, total.mean_ms, total.min_ms, total.max_ms, total.seq) == (3, 3.0, 1.0, 5.0, 1)
    (window,) = timings.reports()
    assert (window.count, window.mean_ms, window.seq) == (1, 5.0, 2)


def test_seq_counts_the_reports_of_each_phase_without_gaps(timings: Timings) -> None:
    seen: list[tuple[str, int]] = []
    for phases in (("decode",), ("decode", "training"), (), ("training",), ("decode",)):
        for phase in phases:
            timings.add(phase, 1.0)
        seen += [(r.phase, r.seq) for r in timings.reports()]
    assert seen == [("decode", 1), ("decode", 2), ("training", 1), ("training", 2), ("decode", 3)]


def test_a_window_says_how_long_it_was_and_when_it_ended(timings: Timings) -> None:
    began = time.monotonic()
    timings.add("decode", 1.0)
    before_ms = time.time() * 1000 - 1
    (report,) = timings.reports()
    assert before_ms <= report.ts <= time.time() * 1000
    timings.add("decode", 1.0)
    (second,) = timings.reports()
    (total,) = timings.since_start()
    assert 0 < second.window_s < time.monotonic() - began
    assert report.window_s + second.window_s <= total.window_s


def test_a_report_is_flat_json_whose_numbers_keep_their_type(timings: Timings) -> None:
    timings.add("decode", 2)  # an int, and a NumPy scalar: neither may show
    timings.add("decode", np.float32(2), images=np.int64(1))
    (report,) = timings.reports()
    payload = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert list(payload) == [f.name for f in fields(TimingReport)]
    for name, value in payload.items():
        if name.endswith(("_ms", "_s")):
            assert type(value) is float, name
        elif name in ("count", "images", "ts", "seq"):
            assert type(value) is int, name
        else:
            assert type(value) is str, name
    assert re.fullmatch(r"linux-\w+-python3\.\d+-tflite", payload["platform"])
    assert TimingReport.from_dict(payload) == report


def test_a_report_with_a_missing_or_strange_value_is_refused(timings: Timings) -> None:
    timings.add("decode", 2.0)
    payload = timings.reports()[0].as_dict()
    for changed in ({"count": None}, {"count": 1.5}, {"count": True}, {"mean_ms": "2"}, {"phase": 3}, {"role": "cook"}):
        with pytest.raises(ValueError, match=next(iter(changed))):
            TimingReport.from_dict({**payload, **changed})
    assert TimingReport.from_dict({**payload, "mean_ms": 2}).mean_ms == 2.0


def test_what_a_child_drains_adds_up_in_the_parent(timings: Timings) -> None:
    child = Timings(node="porch", runtime="numpy")
    for value in range(1, 101):
        child.add("training", value / 10, images=100)
    timings.add("training", 100.0)
    timings.merge(json.loads(json.dumps(child.drain())))
    assert child.reports() == []
    assert [r.count for r in child.since_start()] == [100]
    (report,) = timings.reports()
    assert (report.count, report.images, report.max_ms) == (101, 10_001, 100.0)
    assert report.mean_ms == pytest.approx(statistics.fmean([*(v / 10 for v in range(1, 101)), 100.0]))
    assert report.p50_ms == pytest.approx(5.1, rel=ACCURACY)


@pytest.mark.parametrize("rubbish", [{"training": {}}, {"training": None}, {"Bad/phase": "…"}, {"a": [1, 2]}])
def test_nothing_of_a_strange_merge_is_added(rubbish: dict[str, object], timings: Timings) -> None:
    child = Timings(node="porch", runtime="numpy")
    child.add("epoch", 1.0)
    with pytest.raises(ValueError, match=r"summary|phase"):
        timings.merge({**child.drain(), **rubbish})
    assert timings.reports() == []


@pytest.mark.parametrize("phase", ["", "Decode", "a/b", "+", "a b", "é", "x" * 65])
def test_a_phase_that_could_not_be_a_topic_is_refused(phase: str, timings: Timings) -> None:
    with pytest.raises(ValueError, match="phase"):
        timings.add(phase, 1.0)
    child = Timings(node="porch", runtime="numpy")
    child.add("epoch", 1.0)
    with pytest.raises(ValueError, match="phase"):
        timings.merge({phase: child.drain()["epoch"]})
    assert timings.reports() == []


def test_a_wrong_duration_leaves_no_empty_phase_behind(timings: Timings) -> None:
    with pytest.raises(ValueError, match="no duration"):
        timings.add("decode", -1.0)
    assert timings.reports() == timings.since_start() == []


def test_nothing_is_lost_between_threads_and_closing_windows(timings: Timings) -> None:
    done = threading.Event()
    counted: list[int] = []

    def report() -> None:
        while not done.is_set():
            counted.extend(r.count for r in timings.reports())
            timings.since_start()

    def work() -> None:
        for _ in range(5000):
            timings.add("training", 1.0)

    reporter = threading.Thread(target=report)
    workers = [threading.Thread(target=work) for _ in range(4)]
    for thread in (reporter, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    reporter.join()
    counted.extend(r.count for r in timings.reports())
    assert sum(counted) == 20_000
    assert [r.count for r in timings.since_start()] == [20_000]


def test_a_table_has_a_line_for_every_phase(timings: Timings) -> None:
    timings.add("decode", 1.25)
    timings.add("bottleneck", 4.0, images=50)
    header, decode, bottleneck = table(timings.reports()).splitlines()
    assert header.split() == ["phase", "count", "mean", "ms", "std", "min", "p50", "p95", "max", "images"]
    assert decode.split() == ["decode", "1", "1.250", "0.000", "1.250", "1.250", "1.250", "1.250", "1"]
    assert bottleneck.split()[-1] == "50"
    assert len(header) == len(decode) == len(bottleneck)
