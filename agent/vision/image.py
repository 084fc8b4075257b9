"""From a picture's bytes to pixels, and from lines and words to a picture. The only place that imports Pillow."""

import io
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from agent.errors import ImageError

log = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
MAX_PIXELS = 40_000_000

# Pillow only warns of a picture that would take hundreds of megabytes. A Picture refuses it, by the size
# that the header declares and before any pixel is read.
Image.MAX_IMAGE_PIXELS = None
PngImagePlugin.MAX_TEXT_MEMORY = 4 << 20  # of what a PNG says in words, packed; Pillow unpacks 64 MiB of it

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
_TURNED = (5, 6, 7, 8)  # its columns are the rows of the upright picture
_FROM_THE_END = (3, 4, 7, 8)  # where the upright picture begins
_STRIP_PIXELS = 1 << 17


def decode(payload: bytes, width: int, height: int, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """As Picture(...).pixels(): RGB [height, width, 3], uint8. Raises ImageError."""
    return Picture(payload, width, height, max_pixels=max_pixels).pixels()


class Picture:
    """An encoded picture of which only the header was read, on its way to `width` x `height` pixels.

    `decoding_bytes` is the memory that its pixels take at most while they are decoded, as measured with Pillow 9.4 and
    13: 4 bytes a pixel; 17 for WebP, whose decoder holds the picture three times beside ours, and its file; for a JPEG,
    which is decoded at a smaller size, next to none, but two bytes for each value where they are not all in one scan.
    """

    def __init__(self, payload: bytes, width: int, height: int, *, max_pixels: int = MAX_PIXELS) -> None:
        """Raises ImageError for bytes that are no picture, and one of more than `max_pixels` pixels."""
        if not payload:
            raise ImageError("the picture is empty (0 bytes): send the bytes of a JPEG or PNG file")
        image = _opened(payload)
        self.width, self.height, self.format = image.width, image.height, str(image.format)
        if self.width * self.height > max_pixels:
            raise ImageError(
                f"the picture is too large: {self.width} x {self.height} pixels, the limit is {max_pixels}; "
                "scale it down"
            )
        # A JPEG can be decoded at a half, a quarter or an eighth of its size for much less
        # work; draft() picks the smallest that is not below what is asked.
        image.draft("RGB", (width, height))
        self._size = width, height
        self.decoding_bytes = _decoded_bytes(image, payload, self.width * self.height) + _resizing_bytes(image, width)
        # A WebP takes its canvas as it is opened: address space of which 32 bits have little. So it does not wait open.
        self._image = image if self.format != "WEBP" else None
        self._payload = payload

    def pixels(self) -> NDArray[np.uint8]:
        """RGB [height, width, 3], uint8, upright, scaled bilinearly without keeping its aspect. Once, and no more.

        Raises ImageError for a torn picture; what it took is free by then.
        """
        image = self._image or _opened(self._payload)
        try:
            return np.asarray(_fitted(image, *self._size))
        except Exception as error:
            log.debug("a picture could not be decoded", exc_info=True)
            wrong = f"the {self.format} picture of {self.width} x {self.height} pixels is torn or damaged: {error}"
        finally:
            image.close()
        raise ImageError(wrong)  # from nothing: the traceback of Pillow's error would hold the decoder and its pixels


def _opened(payload: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(payload), formats=FORMATS)
    except Exception as error:
        raise ImageError(
            f"not a picture: {len(payload)} bytes beginning {payload[:8]!r}; send JPEG, PNG, BMP or WebP"
        ) from error


def _decoded_bytes(image: Image.Image, payload: bytes, pixels: int) -> int:
    """Of a picture of so many pixels, at the size at which it is decoded, and of what its decoder takes beside it."""
    decoded = 4 * image.width * image.height
    if image.format == "WEBP":
        return decoded * 17 // 4 + len(payload)
    layers = getattr(image, "layer", ())  # a JPEG's: (name, columns, rows, ...) of a block, for each channel
    if not layers or _is_one_scan(payload, len(layers)):
        return decoded
    columns, rows = max(layer[1] for layer in layers), max(layer[2] for layer in layers)
    share = sum(layer[1] * layer[2] for layer in layers) / max(1, columns * rows)  # values a pixel: 1 to 4
    return int(decoded + 2 * share * pixels)


def _resizing_bytes(image: Image.Image, width: int) -> int:
    """Of what was scaled in one direction, and of the weights of the pixels, which Pillow keeps as float64."""
    return 4 * width * max(image.size) + 16 * sum(image.size)


def _is_one_scan(payload: bytes, channels: int) -> bool:
    """Whether a JPEG comes line by line, so that its decoder does not keep all of it; by its first SOF and SOS."""
    at, sequential = 2, False
    while at + 4 < len(payload):
        marker, size = payload[at + 1], int.from_bytes(payload[at + 2 : at + 4], "big")
        if payload[at] != 0xFF or marker == 0xFF:
            at += 1
        elif marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # stand alone
            at += 2
        elif marker == 0xDA:
            return sequential and payload[at + 4] == channels
        else:
            sequential = sequential or marker in (0xC0, 0xC1)
            at += 2 + size
    return False


def _fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    """Upright and scaled: to its width strip by strip, then to its height, as Pillow does it, so that there is never a
    second picture of the decoded one's size."""
    orientation = image.getexif().get(_ORIENTATION, 1)
    turned, from_the_end = orientation in _TURNED, orientation in _FROM_THE_END
    rows, columns = (image.width, image.height) if turned else (image.height, image.width)
    narrow = Image.new("RGB", (width, rows))
    step = max(1, _STRIP_PIXELS // columns)
    for top in range(0, rows, step):
        bottom = min(rows, top + step)
        first, last = (rows - bottom, rows - top) if from_the_end else (top, bottom)
        strip = image.crop((first, 0, last, columns) if turned else (0, first, columns, last))
        if strip.mode == "P" and "transparency" in strip.info:
            strip = strip.convert("RGBA")  # Pillow warns about going straight to RGB
        strip = strip.convert("RGB")
        if orientation in _UPRIGHT:
            strip = strip.transpose(_UPRIGHT[orientation])
        narrow.paste(strip.resize((width, bottom - top), Image.Resampling.BILINEAR), (0, top))
    return narrow.resize((width, height), Image.Resampling.BILINEAR)


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
