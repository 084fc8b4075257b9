"""Whether frames can be classified: it is tried with a picture of our own."""

import threading
from pathlib import Path

import numpy as np
import pytest

from agent.vision.backbone import Backbone
from agent.vision.image import decode
from agent.vision.importing import import_model
from agent.vision.probe import Probe

NETWORKS = Path(__file__).parent / "networks"


@pytest.fixture
def backbone(tmp_path: Path) -> Backbone:
    return Backbone(import_model(NETWORKS / "mean_float32.tflite", tmp_path / "bundle"))


def test_a_backbone_that_works_is_no_trouble(backbone: Backbone) -> None:
    probe = Probe(backbone)
    assert [probe.trouble(20, []) for _ in range(3)] == [None] * 3


def test_a_backbone_that_never_comes_back_is(backbone: Backbone) -> None:
    probe = Probe(backbone)
    entered, release = threading.Event(), threading.Event()

    def hang(image: object) -> np.ndarray:
        entered.set()
        release.wait(20)
        return np.zeros(3, np.float32)

    backbone.bottleneck = hang  # type: ignore[method-assign]
    stuck = threading.Thread(target=probe.trouble, args=(20, []))
    stuck.start()
    assert entered.wait(20)
    assert probe.trouble(0.01, []) == "the backbone has been busy for 0.01 s"
    release.set()
    stuck.join()
    assert probe.trouble(20, []) is None


def test_so_is_one_that_fails_or_says_what_is_no_number(backbone: Backbone) -> None:
    probe = Probe(backbone)

    def fail(image: object) -> np.ndarray:
        raise RuntimeError("no delegate")

    backbone.bottleneck = fail  # type: ignore[method-assign]
    assert probe.trouble(20, []) == "the backbone failed on a picture of our own: no delegate"
    backbone.bottleneck = lambda image: np.array([np.nan])  # type: ignore[method-assign]
    assert "not finite" in str(probe.trouble(20, []))


# The picture of our own


def test_the_picture_is_one_in_colours(backbone: Backbone) -> None:
    pixels = decode(Probe(backbone).picture, 32, 32)
    assert all(pixels[..., colour].std() > 10 for colour in range(3))


def test_another_bottleneck_than_at_the_start_is_said(backbone: Backbone) -> None:
    probe = Probe(backbone)
    first = np.array([1.0, -2.0, 3.0], np.float32)
    assert probe.fault(first, [first]) is None
    assert probe.fault(first + np.float32(0.002), [first]) is None, "sums in another order"
    assert "another bottleneck than at the start" in str(probe.fault(first + np.float32(0.01), [first]))


def test_bytes_are_compared_as_numbers(backbone: Backbone) -> None:
    probe = Probe(backbone)
    assert probe.fault(np.array([-128, 127], np.int8), [np.ones(2)]) is None
    assert probe.fault(np.array([127, -128], np.int8), [np.ones(2)]) is not None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_said(backbone: Backbone, value: float) -> None:
    assert "not finite" in str(Probe(backbone).fault(np.array([1.0, value]), [np.ones(3)]))
    assert "not finite" in str(Probe(backbone).fault(np.ones(3), np.array([1.0, value])))
