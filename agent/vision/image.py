"""From a picture's bytes to pixels, and from lines and words to a picture. The only place that imports Pillow."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

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


@dataclass(frozen=True, slots=True)
class Line:
    """Through points (x, y) in pixels, from the top left corner."""

    points: Sequence[tuple[float, float]]
    color: str
    width: float = 1.0
    dots: bool = False  # a dot at every point


@dataclass(frozen=True, slots=True)
class Words:
    """One line of Latin text; (x, y) is the middle of its height, and of its width where `share` is 0.5."""

    x: float
    y: float
    text: str
    color: str = "#333333"
    share: float = 0.0  # of its width that is left of x
    size: int = 14


def drawn(width: int, height: int, shapes: Iterable[Line | Words]) -> bytes:
    """A PNG of shapes on white, the later ones above the earlier."""
    shapes = list(shapes)
    fine = 2  # lines are drawn twice as large and scaled down, which smoothes them
    canvas = Image.new("RGB", (fine * width, fine * height), "white")
    draw = ImageDraw.Draw(canvas)
    for line in (shape for shape in shapes if isinstance(shape, Line)):
        points = [(fine * x, fine * y) for x, y in line.points]
        draw.line(points, fill=line.color, width=round(fine * line.width), joint="curve")
        for x, y in points if line.dots else ():
            radius = fine * (line.width + 1)
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=line.color)
    canvas = canvas.resize((width, height), Image.Resampling.BOX)
    draw = ImageDraw.Draw(canvas)
    for words in (shape for shape in shapes if isinstance(shape, Words)):
        font = _font(words.size)
        text = words.text.encode("latin-1", "replace").decode("latin-1")
        left, top, right, bottom = font.getbbox(text)
        corner = (words.x - words.share * (right - left), words.y - (top + bottom) / 2)
        draw.text(corner, text, fill=words.color, font=font)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def _font(size: int) -> Any:
    try:
        return ImageFont.load_default(size)
    except TypeError:  # before Pillow 10.1 there is one font of one size
        return ImageFont.load_default()
