"""What shows nothing new is passed by: by how much, how long, and beside what."""

import numpy as np
import pytest

from agent.records import Result, Seen
from agent.vision.unchanged import MAX_CAMERAS, Unchanged, grey_copy


def frame(level: int = 100, size: tuple[int, int] = (96, 96)) -> np.ndarray:
    return np.full((*size, 3), level, np.uint8)


def classified(head: str | None = "1") -> Seen:
    return Seen(Result("f" * 16, "yard", 1, head, (), False), np.zeros(4, np.uint8), 0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("size", [(96, 96), (224, 224), (299, 331), (16, 16), (9, 5), (1, 1)])
def test_the_copy_is_the_mean_brightness_of_every_pixel_s_cell(size: tuple[int, int]) -> None:
    copy = grey_copy(frame(200, size))
    assert copy.dtype == np.float32
    np.testing.assert_allclose(copy, 200)
    assert max(copy.shape) <= 17
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        image = frame(200, size)
        image[corner] = 0
        assert np.abs(grey_copy(image) - copy).max() > 0, f"{corner} is in no cell"


def test_it_is_the_mean_of_what_lies_in_a_cell() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 32, 3), np.uint8)
    np.testing.assert_allclose(grey_copy(image), image.reshape(16, 4, 16, 2, 3).mean((1, 3, 4)), rtol=1e-5)


def test_noise_and_a_little_light_are_nothing_new_and_a_small_thing_that_moves_is() -> None:
    random = np.random.default_rng(0)
    before = random.integers(60, 180, (224, 224, 3), np.uint8)
    unchanged, seen = Unchanged(0.04, 60.0), classified()
    unchanged.keep("yard", grey_copy(before), 5, seen)
    noisy = np.clip(before.astype(int) + random.normal(0, 8, before.shape), 0, 255).astype(np.uint8)
    assert unchanged.like("yard", grey_copy(noisy), 5, "1") is seen
    assert unchanged.like("yard", grey_copy(before + np.uint8(8)), 5, "1") is seen
    moved = before.copy()
    moved[100:114, 60:74] = 255
    assert unchanged.like("yard", grey_copy(moved), 5, "1") is None


def test_a_slow_change_is_seen_for_it_is_compared_with_what_was_classified() -> None:
    unchanged = Unchanged(0.04, 60.0)
    unchanged.keep("yard", grey_copy(frame(100)), 5, classified())
    passed = [unchanged.like("yard", grey_copy(frame(level)), 5, "1") is not None for level in range(100, 130, 2)]
    assert passed[:6] == [True] * 6
    assert passed[6:] == [False] * 9


def test_after_a_while_a_frame_is_classified_whatever_it_shows() -> None:
    clock = Clock()
    unchanged = Unchanged(0.04, 60.0, clock)
    unchanged.keep("yard", grey_copy(frame()), 5, classified())
    clock.now = 59.9
    assert unchanged.like("yard", grey_copy(frame()), 5, "1") is not None
    clock.now = 60.0
    assert unchanged.like("yard", grey_copy(frame()), 5, "1") is None


def test_another_head_camera_or_number_of_predictions_asks_anew() -> None:
    unchanged, copy = Unchanged(0.04, 60.0), grey_copy(frame())
    unchanged.keep("yard", copy, 5, classified("1"))
    assert unchanged.like("yard", copy, 5, "1") is not None
    assert unchanged.like("yard", copy, 5, "2") is None
    assert unchanged.like("door", copy, 5, "1") is None
    assert unchanged.like("yard", copy, 6, "1") is None


def test_cameras_that_come_without_end_are_forgotten() -> None:
    unchanged, copy = Unchanged(0.04, 60.0), grey_copy(frame())
    for number in range(MAX_CAMERAS + 1):
        unchanged.keep(str(number), copy, 5, classified())
    assert unchanged.like("0", copy, 5, "1") is None
    assert unchanged.like("1", copy, 5, "1") is not None
