"""From lines and words to a picture: curves for people, and what the backbone is tried with."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont


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
