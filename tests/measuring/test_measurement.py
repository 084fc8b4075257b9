import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.measuring.measurement import Samples, corpus, extrapolated_epoch, repeated, summarised

durations = st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=200)


@given(durations)
def test_a_summary_is_that_of_numpy(ms: list[float]) -> None:
    found = summarised("decode", ms)
    assert found.n == len(ms)
    assert found.mean_ms == pytest.approx(np.mean(ms))
    assert found.std_ms == pytest.approx(np.std(ms, ddof=1) if len(ms) > 1 else 0, abs=1e-6)
    assert found.min_ms == min(ms)
    assert found.p50_ms == np.percentile(ms, 50, method="inverted_cdf")
    assert found.p95_ms == np.percentile(ms, 95, method="inverted_cdf")


def test_nothing_measured_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="decode was not measured"):
        summarised("decode", [])


def test_the_first_call_does_not_count() -> None:
    calls: list[None] = []
    assert len(repeated(lambda: calls.append(None), "training", 4)) == 4
    assert len(calls) == 5


def test_a_corpus_takes_as_long_as_its_pictures() -> None:
    picture = summarised("picture_to_bottleneck", [1000.0, 3000.0])
    found = corpus(picture, 100, 1000)
    assert (found.images, found.mean_ms, found.extrapolated) == (100_000, 2e8, True)  # 55.6 h: the study says 56
    assert (found.std_ms, found.n, found.from_images) == (None, 0, 2)


def test_an_epoch_grows_with_its_images_and_is_validated_every_so_many_batches() -> None:
    part = Samples()
    for phase, ms in (("file_access", 10.0), ("training", 50.0), ("training", 30.0), ("epoch", 100.0)):
        part.add(phase, ms)
    found = extrapolated_epoch(part, 1000, 7.0, classes=250, images=250_000, batch=100, validate_every=500)
    assert found.parts_ms == {"file_access": 2500.0, "training": 20_000.0, "validation": 5 * 7.0}
    assert found.mean_ms == 25_000.0 + 35.0
    assert (found.classes, found.images, found.from_images, found.extrapolated) == (250, 250_000, 1000, True)
