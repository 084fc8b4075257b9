import numpy as np
from numpy.typing import NDArray

from trainer.making.views import augmented, crop, view_boxes, whole


def test_the_first_view_is_the_whole_picture_and_the_others_lie_within() -> None:
    pictures: list[NDArray[np.uint8]] = [np.zeros((84, 84, 3), np.uint8), np.zeros((96, 140, 3), np.uint8)] * 50
    boxes = view_boxes(pictures, 4, seed=3)
    assert boxes.shape == (100, 4, 4)
    sizes = np.array([picture.shape[1::-1] for picture in pictures])
    np.testing.assert_allclose(boxes[:, 0, 2:], sizes, rtol=1e-6)
    assert (boxes[:, 0, :2] == 0).all()
    assert (boxes[..., :2] >= 0).all()
    assert (boxes[..., 2:] <= sizes[:, None] * (1 + 1e-6)).all()
    spans = boxes[:, 1:, 2:] - boxes[:, 1:, :2]
    shares = spans.prod(axis=-1) / sizes.prod(axis=1)[:, None]
    assert 0.29 < shares.min() < 0.4
    assert shares.max() <= 1 + 1e-6
    assert (boxes == view_boxes(pictures, 4, seed=3)).all()
    assert (boxes[:, 1:] != view_boxes(pictures, 4, seed=4)[:, 1:]).any()


def test_a_view_shows_its_part_of_the_picture() -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:20, 30:] = (10, 200, 30)
    # The filter looks a little beyond the edges of the box.
    assert (crop(picture, np.array([30, 0, 60, 20], np.float32), 8)[:-1, 1:] == (10, 200, 30)).all()
    assert (crop(picture, np.array([0, 20, 60, 40], np.float32), 8)[1:] == 0).all()
    assert crop(picture, whole(picture), 32).shape == (32, 32, 3)


def test_augmentation_keeps_shape_and_range_and_moves_each_picture_in_its_own_way() -> None:
    rng = np.random.default_rng(0)
    images = np.repeat(rng.integers(0, 256, (1, 12, 12, 3), dtype=np.uint8), 64, axis=0)
    moved = augmented(images, rng)
    assert moved.shape == images.shape
    assert moved.dtype == np.float32
    assert moved.min() >= 0
    assert moved.max() <= 255
    assert len(np.unique(moved.reshape(64, -1), axis=0)) == 64


def test_augmentation_of_a_gray_picture_leaves_it_gray_and_mirrors_about_half() -> None:
    ramp = np.repeat(np.linspace(60, 190, 16).astype(np.uint8)[None, None, :, None], 200, axis=0)
    images = np.broadcast_to(ramp, (200, 4, 16, 3)).copy()
    moved = augmented(images, np.random.default_rng(1))
    np.testing.assert_allclose(moved, moved[..., :1].repeat(3, axis=-1), atol=1e-3)
    falling = moved[:, 0, 0, 0] > moved[:, 0, -1, 0]
    assert 60 < falling.sum() < 140
