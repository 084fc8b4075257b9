"""What is wrong with the bottleneck of a picture of our own."""

import numpy as np
import pytest

from agent.vision.image import decode
from agent.vision.probe import Probe


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
