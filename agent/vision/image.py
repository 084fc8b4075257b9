"""From a picture's bytes to pixels. The only place that imports Pillow."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agent.errors import ImageError

FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
MAX_PIXELS = 40_000_000

# Pillow only warns of a picture that would take hundreds of megabytes. decode()
# refuses it, by the size that the header declares and before any pixel is read.
Image.MAX_IMAGE_PIXELS = None

_ORIENTATION = 0x0112  # the EXIF tag
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(payload: bytes, width: int, height: int, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The picture as RGB pixels [height, width, 3], uint8, upright, scaled bilinearly without keeping its aspect.

    Raises ImageError for bytes that are no picture, a torn picture, and one of more
    than `max_pixels` pixels.
    """
    if not payload:
        raise ImageError("the picture is empty (0 bytes): send the bytes of a JPEG or PNG file")
    try:
        image = Image.open(io.BytesIO(payload), formats=FORMATS)
    except Exception as error:
        raise ImageError(
            f"not a picture: {len(payload)} bytes beginning {payload[:8]!r}; send JPEG, PNG, BMP or WebP"
        ) from error
    if image.width * image.height > max_pixels:
        raise ImageError(
            f"the picture is too large: {image.width} x {image.height} pixels, the limit is {max_pixels}; scale it down"
        )
    try:
        return np.asarray(_fitted(image, width, height))
    except Exception as error:
        raise ImageError(
            f"the {image.format} picture of {image.width} x {image.height} pixels is torn or damaged: {error}"
        ) from error


def _fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    # A JPEG can be decoded at a half, a quarter or an eighth of its size for much less
    # work; draft() picks the smallest that is not below what is asked.
    image.draft("RGB", (width, height))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns about going straight to RGB
    transpose = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    rgb = image.convert("RGB")
    if transpose is not None:
        rgb = rgb.transpose(transpose)
    return rgb.resize((width, height), Image.Resampling.BILINEAR)
