"""Whether a frame would get its bottleneck: on the backbone that ships, and on runtimes that fail."""

import threading

import numpy as np
import pytest

from agent.reporting.timing import Timings
from agent.vision.backbone import Backbone
from agent.vision.bundle import DEFAULT, load_bundle
from agent.vision.classifier import Classifier
from agent.vision.probe import Probe


@pytest.fixture
def timings() -> Timings:
    return Timings(node="board", runtime="none")


@pytest.fixture
def classifier(timings: Timings) -> Classifier:
    return Classifier(Backbone(load_bundle(DEFAULT)), timings)


def test_a_backbone_that_is_well_has_no_trouble_and_leaves_no_timing(classifier: Classifier, timings: Timings) -> None:
    assert [classifier.trouble(60.0) for _ in range(3)] == [None] * 3
    assert timings.reports() == []


def test_a_backbone_that_hangs_is_busy(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, over = threading.Event(), threading.Event()
    invoke = classifier.backbone.bottleneck

    def hanging(image: "np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]") -> object:
        hangs.set()
        over.wait()
        return invoke(image)

    monkeypatch.setattr(classifier.backbone, "bottleneck", hanging)
    other = threading.Thread(target=classifier.trouble, args=(60.0,), name="hanging")
    other.start()
    hangs.wait()
    assert "busy" in str(classifier.trouble(0.01))
    over.set()
    other.join()
    assert classifier.trouble(60.0) is None


@pytest.mark.parametrize("error", [RuntimeError("Node number 3 failed to invoke"), MemoryError("no room")])
def test_what_the_runtime_raises_is_trouble(
    error: Exception, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(image: object) -> None:
        raise error

    monkeypatch.setattr(classifier.backbone, "bottleneck", failing)
    assert str(error) in str(classifier.trouble(60.0))


def test_another_answer_than_at_the_start_is_trouble() -> None:
    probe = Probe()
    first = np.array([1.0, -2.0, 3.0], np.float32)
    assert probe.fault(first, first) is None
    assert probe.fault(first + np.float32(0.002), first) is None, "sums in another order"
    assert "another bottleneck than at the start" in str(probe.fault(first + np.float32(0.01), first))


@pytest.mark.parametrize("scores", [np.array([1.0, np.nan]), np.array([np.inf])])
def test_what_is_not_finite_is_trouble(scores: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> None:
    assert "not finite" in str(Probe().fault(np.ones(3, np.int8), scores))
