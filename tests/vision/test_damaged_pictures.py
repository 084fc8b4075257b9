"""Whatever somebody's bytes make Pillow raise, it is an error of ours, in one line."""

import numpy as np
from hypothesis import given, settings

from agent.errors import ImageError
from agent.vision.image import decode
from tests.vision.damaged import damaged


@settings(max_examples=1000)
@given(damaged())
def test_a_damaged_picture_is_decoded_or_said_in_words(picture: bytes) -> None:
    try:
        pixels = decode(picture, 32, 24, max_pixels=1_000_000)
    except ImageError as error:
        assert str(error)
        assert "\n" not in str(error)
    else:
        assert pixels.shape == (24, 32, 3)
        assert pixels.dtype == np.uint8
