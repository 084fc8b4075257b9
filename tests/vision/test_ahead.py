"""Several crops of a picture, made while others are looked at."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from agent.errors import ImageError
from agent.region import Cut
from agent.vision.ahead import Ahead
from agent.vision.image import Crop, Picture
from tests.waiting import until

CROPS = [Crop(32, 24, Cut((0.1 * number, 0.05 * number, 0.4, 0.5))) for number in range(6)]
PATIENCE_S = 60.0


@pytest.fixture
def ahead() -> Iterator[Ahead]:
    ahead = Ahead()
    yield ahead
    ahead.stop()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_the_crops_are_those_that_are_made_one_after_another(ahead: Ahead, jpegs: list[bytes]) -> None:
    expected = Picture(jpegs[0], CROPS).pixels()
    for _ in range(3):
        np.testing.assert_array_equal(list(Picture(jpegs[0], CROPS).each(ahead.each)), expected)


def test_the_others_are_made_while_the_first_is_looked_at(ahead: Ahead) -> None:
    made: list[int] = []
    each = ahead.each(made.append, range(4))
    next(each)
    until(lambda: sorted(made) == [0, 1, 2, 3], PATIENCE_S)
    assert len(list(each)) == 3


def test_one_crop_needs_no_thread(ahead: Ahead, jpegs: list[bytes]) -> None:
    before = threads()
    (pixels,) = Picture(jpegs[0], CROPS[:1]).each(ahead.each)
    assert pixels.shape == (24, 32, 3)
    assert threads() == before


def test_a_torn_picture_is_refused_before_any_crop_of_it_is_looked_at(ahead: Ahead, jpegs: list[bytes]) -> None:
    with pytest.raises(ImageError, match="torn"):
        next(Picture(jpegs[0][: len(jpegs[0]) // 2], CROPS).each(ahead.each))


def test_what_goes_wrong_in_the_thread_is_said_where_it_was_wanted(ahead: Ahead, jpegs: list[bytes]) -> None:
    def refuse(crop: Crop) -> np.ndarray:
        raise MemoryError("no more")

    each = Picture(jpegs[0], CROPS).each(
        lambda do, crops: ahead.each(lambda c: refuse(c) if c != crops[0] else do(c), crops)
    )
    next(each)
    with pytest.raises(ImageError, match="no more"):
        next(each)


def test_its_thread_is_gone_when_it_is_stopped(ahead: Ahead) -> None:
    before = len(threads())
    list(ahead.each(abs, [1, 2]))
    assert len(threads()) == before + 1
    ahead.stop()
    assert len(threads()) == before
