"""The parts of pictures that a network is shown."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.making.corpus import Picture

GRAY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # luma, ITU-R BT.601


def whole(picture: Picture) -> NDArray[np.float32]:
    """The box of the whole picture."""
    return np.array([0, 0, picture.shape[1], picture.shape[0]], dtype=np.float32)


def view_boxes(pictures: list[Picture], views: int, seed: int) -> NDArray[np.float32]:
    """Where each view of each picture lies: [N, views, 4] as left, upper, right, lower.

    View 0 is the whole picture; the others are random crops of 0.3 to 1 of its area, with
    sides stretched by up to 4/3 (Szegedy et al. 2015, section 6).
    """
    rng = np.random.default_rng(seed)
    sizes = np.array([picture.shape[1::-1] for picture in pictures], dtype=np.float64)[:, None, :]  # [N, 1, 2]
    area = rng.uniform(0.3, 1.0, (len(pictures), views))
    stretch = np.exp(rng.uniform(-0.5, 0.5, (len(pictures), views)) * np.log(4 / 3))
    area[:, 0] = stretch[:, 0] = 1.0
    shares = np.minimum(np.sqrt(area)[..., None] * np.stack([stretch, 1 / stretch], axis=-1), 1.0)  # [N, views, 2]
    spans = sizes * shares
    corners = (sizes - spans) * rng.uniform(0.0, 1.0, spans.shape)
    return np.concatenate([corners, corners + spans], axis=-1).astype(np.float32)


def crop(picture: Picture, box: NDArray[np.float32], size: int) -> Picture:
    """One view of a picture, uint8 [size, size, 3]; bilinear, aspect not kept."""
    left, upper, right, lower = (float(edge) for edge in box)
    width, height = picture.shape[1], picture.shape[0]
    within = (max(left, 0.0), max(upper, 0.0), min(right, float(width)), min(lower, float(height)))
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR, within))


def augmented(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """Mirrored half of the time, with contrast, saturation and brightness moved: [B, H, W, 3], 0..255."""
    count = len(images)
    mirrored = rng.random(count) < 0.5
    images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    contrast, saturation = rng.uniform(0.6, 1.4, (2, count, 1, 1)).astype(np.float32)
    brightness = rng.uniform(-40, 40, (count, 1, 1)).astype(np.float32)
    gray = np.repeat(GRAY[:, None], 3, axis=1)  # [3, 3]
    mixing = contrast * (saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * gray)  # [B, 3, 3]
    pixels = images.reshape(count, -1, 3).astype(np.float32) @ mixing + (brightness + (1 - contrast) * 127.5)
    return np.asarray(np.clip(pixels, 0, 255).reshape(images.shape), dtype=np.float32)
