"""Whether frames can be classified: it is tried with a picture of our own."""

import threading
from pathlib import Path

import numpy as np
import pytest

from agent.reporting.timing import Timings
from agent.vision.backbone import Backbone
from agent.vision.classifier import Classifier, Probe
from agent.vision.image import decode
from agent.vision.importing import import_model

NETWORKS = Path(__file__).parent / "networks"


@pytest.fixture
def timings() -> Timings:
    return Timings(node="board", runtime="test")


@pytest.fixture
def classifier(tmp_path: Path, timings: Timings) -> Classifier:
    backbone = Backbone(import_model(NETWORKS / "mean_float32.tflite", tmp_path / "bundle"))
    return Classifier(backbone, timings)


def test_a_backbone_that_works_is_no_trouble_and_leaves_no_timing(classifier: Classifier, timings: Timings) -> None:
    assert [classifier.trouble(20) for _ in range(3)] == [None] * 3
    assert timings.reports() == []


def test_a_backbone_that_never_comes_back_is(classifier: Classifier) -> None:
    entered, release = threading.Event(), threading.Event()

    def hang(image: object) -> np.ndarray:
        entered.set()
        release.wait(20)
        return np.zeros(3, np.float32)

    classifier.backbone.bottleneck = hang  # type: ignore[method-assign]
    stuck = threading.Thread(target=classifier.trouble, args=(20,))
    stuck.start()
    assert entered.wait(20)
    assert classifier.trouble(0.01) == "the backbone has been busy for 0.01 s"
    release.set()
    stuck.join()
    assert classifier.trouble(20) is None


def test_so_is_one_that_fails_or_says_what_is_no_number(classifier: Classifier) -> None:
    def fail(image: object) -> np.ndarray:
        raise RuntimeError("no delegate")

    classifier.backbone.bottleneck = fail  # type: ignore[method-assign]
    assert classifier.trouble(20) == "the backbone failed on a picture of our own: no delegate"
    classifier.backbone.bottleneck = lambda image: np.array([np.nan])  # type: ignore[method-assign]
    assert "not finite" in str(classifier.trouble(20))


# The picture of our own


def test_the_picture_is_one_in_colours() -> None:
    pixels = decode(Probe().picture, 32, 32)
    assert all(pixels[..., colour].std() > 10 for colour in range(3))


def test_another_bottleneck_than_at_the_start_is_said() -> None:
    probe = Probe()
    first = np.array([1.0, -2.0, 3.0], np.float32)
    assert probe.fault(first, first) is None
    assert probe.fault(first + np.float32(0.002), first) is None, "sums in another order"
    assert "another bottleneck than at the start" in str(probe.fault(first + np.float32(0.01), first))


def test_bytes_are_compared_as_numbers() -> None:
    probe = Probe()
    assert probe.fault(np.array([-128, 127], np.int8), np.ones(2)) is None
    assert probe.fault(np.array([127, -128], np.int8), np.ones(2)) is not None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_said(value: float) -> None:
    assert "not finite" in str(Probe().fault(np.array([1.0, value]), np.ones(3)))
    assert "not finite" in str(Probe().fault(np.ones(3), np.array([1.0, value])))
