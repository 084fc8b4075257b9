"""From a picture's bytes to pixels."""

import io
import logging
import random
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from agent.errors import ImageError
from agent.region import Cut
from agent.vision.formats import Jpeg, Png, orientation, read

log = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
MAX_PIXELS = 40_000_000
BACKGROUND = "white"  # what shows through a transparent picture: paper, for which drawings and cut-outs are made

# Pillow only warns of a picture that would take hundreds of megabytes. A Picture refuses it, by the size
# that the header declares and before any pixel is read.
Image.MAX_IMAGE_PIXELS = None

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
_FROM_THE_RIGHT = (2, 3, 6, 7)  # and its rows
_STRIP_PIXELS = 1 << 17
_MAX_SIDE = 65_535  # of a JPEG: no picture needs to be decoded larger
_MAX_JPEG_ROWS = 65_500  # of libjpeg
_MAX_SCANS, _MAX_PIXELS_IN_SCANS = 100, 1 << 21  # of a JPEG that is decoded many times, to see whether it is whole
_GRAY = 128  # of which it makes rows that it has no data for

# What could go on where the data of a JPEG were cut: noise, behind each of three bits.
_random = random.Random(0)
_NOISE = [bytes([first << 5, *_random.choices(range(255), k=63)]) for first in range(8)]


@dataclass(frozen=True, slots=True)
class Crop:
    """What of an upright picture is wanted, and in how many pixels: what is cut out is turned, then scaled."""

    width: int
    height: int
    cut: Cut = field(default_factory=Cut)

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the region in an upright picture of so many pixels; one of them at least."""
        (left, right), (top, bottom) = (
            (min(int(share * size + 0.5), size - 1), int((share + extent) * size + 0.5))
            for share, extent, size in zip(self.cut.region[:2], self.cut.region[2:], (width, height), strict=True)
        )
        return left, top, max(left + 1, min(right, width)), max(top + 1, min(bottom, height))

    @property
    def scaled(self) -> tuple[int, int]:
        """Its width and height before it is turned."""
        return (self.height, self.width) if self.cut.turned in (90, 270) else (self.width, self.height)

    def fine(self) -> tuple[int, int]:
        """How large the whole picture would be, of which its region has as many pixels as are wanted."""
        shares = (max(share, 1 / _MAX_SIDE) for share in self.cut.region[2:])
        width, height = (min(_MAX_SIDE, round(size / share)) for size, share in zip(self.scaled, shares, strict=True))
        return width, height


Mapped = Callable[[Callable[[Crop], NDArray[np.uint8]], Sequence[Crop]], Iterator[NDArray[np.uint8]]]


def decode(payload: bytes, width: int, height: int, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The whole picture: RGB [height, width, 3], uint8. Raises ImageError."""
    (pixels,) = Picture(payload, [Crop(width, height)], max_pixels=max_pixels).pixels()
    return pixels


class Picture:
    """An encoded picture of which only the header was read, on its way to the pixels of `crops`.

    `decoding_bytes` is the memory that its pixels take at most while they are decoded, as measured with Pillow 9.4 and
    13: 4 bytes a pixel; 17 for WebP, whose decoder holds the picture three times beside ours, and its file; for a JPEG,
    which is decoded at a smaller size, next to none, but two bytes for each value where they are not all in one scan.
    The file counts once more where it holds what a decoder is not given.
    """

    def __init__(self, payload: bytes, crops: Sequence[Crop], *, max_pixels: int = MAX_PIXELS) -> None:
        """Raises ImageError for bytes that are no picture, and one of more than `max_pixels` pixels."""
        if not payload:
            raise ImageError("the picture is empty (0 bytes): send the bytes of a JPEG or PNG file")
        self._payload = payload.lstrip(b"\r\n")  # what a stream of pictures has between them
        self._encoded = read(self._payload)
        self._crops = crops
        image = _opened(self._encoded.head)
        self.orientation = orientation(self._encoded.exif)
        self.width, self.height, self.format = image.width, image.height, str(image.format)
        if self.width * self.height > max_pixels:
            raise ImageError(
                f"the picture is too large: {self.width} x {self.height} pixels, the limit is {max_pixels}; "
                "scale it down"
            )
        # A JPEG can be decoded at a half, a quarter or an eighth of its size for much less
        # work; draft() picks the smallest that is not below what is asked: by the crop that looks closest.
        self._size = self._least_size()
        image.draft("RGB", self._size)
        wanted = max(max(crop.scaled) for crop in crops)
        self.decoding_bytes = self._decoded_bytes(image) + _resizing_bytes(image, wanted)
        # A WebP takes its canvas as it is opened: address space of which 32 bits have little. So it does not wait open.
        self._image = image if isinstance(self._encoded, Jpeg) else None

    def pixels(self) -> list[NDArray[np.uint8]]:
        """As `each`, all of them."""
        return list(self.each())

    def each(self, mapped: Mapped = map) -> Generator[NDArray[np.uint8], None, None]:
        """Of each crop RGB [height, width, 3], uint8, upright and then turned as it says, scaled bilinearly without
        keeping its aspect. Once, and no more.

        They are made by `mapped`, which is called as `map` is, once it is known that the picture is whole; what
        that took is held until the last was taken. What is transparent shows BACKGROUND. Raises ImageError for a torn
        picture; what it took is free by then.
        """
        try:
            with self._decoded() as (image, doubtful):
                fitted = mapped(partial(_fitted, image, self.orientation), self._crops)
                kept = list(fitted) if doubtful or len(self._crops) == 1 else []
                yield from () if kept else fitted
            if not doubtful or self._holds_all_rows():
                yield from kept
                return
            why = "it lacks rows"
        except Exception as error:
            log.debug("a picture could not be decoded", exc_info=True)
            why = str(error)
        raise ImageError(  # from nothing: the traceback of Pillow's error would hold the decoder and its pixels
            f"the {self.format} picture of {self.width} x {self.height} pixels is torn or damaged: {why}"
        )

    @property
    def upright_size(self) -> tuple[int, int]:
        """Its width and height as it is to be looked at, in pixels."""
        return (self.height, self.width) if self.orientation in _TURNED else (self.width, self.height)

    def _decoded_bytes(self, image: Image.Image) -> int:
        """Of its pixels, at the size at which they are decoded, and of what the decoder takes beside them."""
        decoded = 4 * image.width * image.height + (0 if self._encoded.is_all() else len(self._payload))
        if self.format == "WEBP":
            return decoded * 17 // 4 + len(self._payload)
        if not isinstance(self._encoded, Jpeg) or self._encoded.one_scan:
            return decoded
        if not self._encoded.ended and self.width * self.height <= _MAX_PIXELS_IN_SCANS:
            decoded += 4 * self.width * self.height
        layers = getattr(image, "layer", ())  # (name, columns, rows, ...) of a block, for each channel
        columns, rows = max(layer[1] for layer in layers), max(layer[2] for layer in layers)
        share = sum(layer[1] * layer[2] for layer in layers) / max(1, columns * rows)  # values a pixel: 1 to 4
        return int(decoded + 2 * share * self.width * self.height)

    def _least_size(self) -> tuple[int, int]:
        """Width and height at which it is to be decoded at least, as it lies in the file."""
        sizes = [crop.fine() for crop in self._crops]
        width, height = max(width for width, _ in sizes), max(height for _, height in sizes)
        return (height, width) if self.orientation in _TURNED else (width, height)

    @contextmanager
    def _decoded(self) -> Iterator[tuple[Image.Image, bool]]:
        """And whether rows may lack: where a JPEG's data end, its decoder goes on in gray."""
        encoded, content = self._encoded, self._encoded.content()
        if self._image is not None:
            self._image.fp = io.BytesIO(content)
        with closing(self._image or _opened(content)) as image:
            image.load()
            if isinstance(encoded, Png):
                _scale_transparency(image, encoded.depth)
            yield image, isinstance(encoded, Jpeg) and (not encoded.ended or _ends_in_gray(image))

    def _holds_all_rows(self) -> bool:
        """Whether a JPEG's data go as far as its last row.

        Where the data end, the decoder fills the block that it is at with zeros, and leaves those behind it gray. So it
        is asked for more rows than there are: the first block of these is not gray where all before it were whole. It
        can be gray by chance, and where a picture comes in several scans nothing follows from it. Then the data go on
        in several ways, and only where none makes a difference all of the picture was there.
        """
        jpeg = self._encoded
        if not isinstance(jpeg, Jpeg):
            return True
        if not jpeg.one_scan and (len(jpeg.scans) > _MAX_SCANS or not (jpeg.ended or self._may_be_whole(jpeg))):
            return jpeg.ended
        rows = -self.height // jpeg.block_rows * -jpeg.block_rows
        if jpeg.one_scan and rows + jpeg.block_rows <= _MAX_JPEG_ROWS:
            with closing(_opened(jpeg.going_on(b"", rows + jpeg.block_rows))) as image:
                image.draft("L", (1, 1))
                added = rows * image.height // (rows + jpeg.block_rows)
                if image.mode == "L" and image.getpixel((0, added)) != _GRAY:
                    return True
        # What the last of several scans brings is too fine to be seen at a smaller size.
        size = self._size if jpeg.ended or jpeg.one_scan else (self.width, self.height)
        endings = (b"", *_NOISE, jpeg.next_restart() + _NOISE[1])
        sums = (_checksum(jpeg.going_on(ending), size) for ending in endings)
        first = next(sums)
        return all(other == first for other in sums)

    def _may_be_whole(self, jpeg: Jpeg) -> bool:
        """Whether one in several scans that lacks its end is looked at at all: at its full size that takes long."""
        return self.width * self.height <= _MAX_PIXELS_IN_SCANS and jpeg.is_complete()


def decode_upright(payload: bytes, short_side: int | None = None, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """RGB [height, width, 3], uint8, at its own size or with its short side at most `short_side`. Raises ImageError."""
    width, height = Picture(payload, [Crop(1, 1)], max_pixels=max_pixels).upright_size
    share = 1.0 if short_side is None else min(1.0, short_side / min(width, height))
    return decode(payload, *(max(1, round(share * side)) for side in (width, height)), max_pixels=max_pixels)


def _opened(payload: bytes) -> ImageFile.ImageFile:
    try:
        return Image.open(io.BytesIO(payload), formats=FORMATS)
    except Exception as error:
        raise ImageError(
            f"not a picture: {len(payload)} bytes beginning {payload[:8]!r}; send JPEG, PNG, BMP or WebP"
        ) from error


def _resizing_bytes(image: Image.Image, width: int) -> int:
    """Of what was scaled in one direction, and of the weights of the pixels, which Pillow keeps as float64."""
    return 4 * width * max(image.size) + 16 * sum(image.size)


def _fitted(image: Image.Image, orientation: int, crop: Crop) -> NDArray[np.uint8]:
    """Upright, opaque, cut, scaled and turned: scaled to its width strip by strip, then to its height, as Pillow does
    it, so that there is never a second picture of the decoded one's size."""
    bits = _gray_bits(image)
    opaque = image.format == "BMP" and image.mode == "RGBA" and image.getbbox() is None  # a fourth byte left at 0
    turned = orientation in _TURNED
    rows, columns = (image.width, image.height) if turned else (image.height, image.width)
    left, top, right, bottom = crop.box(columns, rows)
    from_left, to_right = (columns - right, columns - left) if orientation in _FROM_THE_RIGHT else (left, right)
    width, height = crop.scaled
    narrow = Image.new("RGB", (width, bottom - top))
    step = max(1, _STRIP_PIXELS // (right - left))
    for begin in range(top, bottom, step):
        end = min(bottom, begin + step)
        first, last = (rows - end, rows - begin) if orientation in _FROM_THE_END else (begin, end)
        strip = image.crop((first, from_left, last, to_right) if turned else (from_left, first, to_right, last))
        strip = strip.convert("RGB") if opaque else _on_background(_of_8_bits(strip, bits) if bits else strip)
        if orientation in _UPRIGHT:
            strip = strip.transpose(_UPRIGHT[orientation])
        narrow.paste(strip.resize((width, end - begin), Image.Resampling.BILINEAR), (0, begin - top))
    scaled = np.asarray(narrow.resize((width, height), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(np.rot90(scaled, -crop.cut.turned // 90)) if crop.cut.turned else scaled


def _on_background(strip: Image.Image) -> Image.Image:
    """RGB, as it looks where BACKGROUND lies below it: what a transparent pixel hides is gone before any is scaled."""
    if strip.mode not in ("LA", "PA", "RGBA") and "transparency" not in strip.info:
        return strip if strip.mode == "RGB" else strip.convert("RGB")  # which would copy it
    strip = strip.convert("RGBA")
    canvas = Image.new("RGB", strip.size, BACKGROUND)
    canvas.paste(strip, mask=strip)
    return canvas


def _gray_bits(image: Image.Image) -> int | None:
    """Of a picture whose grays have 16 bits, which Pillow would clip to 8: how many of them hold it, 12 or 16.

    Few sensors have 16 bits, and what one of 12 left in 16 would be all but black. It is always taken for 12, however
    bright the scene; one of 16 only where all of its picture is in the lowest sixteenth.
    """
    if not image.mode.startswith("I"):
        return None
    _, brightest = np.asarray(image.getextrema())
    return 16 if brightest >= 1 << 12 else 12


def _of_8_bits(strip: Image.Image, bits: int) -> Image.Image:
    """The upper 8 of so many bits, as Pillow takes them of 16 bits of colour: L; LA where one gray is transparent."""
    gray = np.asarray(strip).astype(np.uint16)
    upper = Image.fromarray((gray >> (bits - 8)).astype(np.uint8))
    if (transparent := strip.info.get("transparency")) is None:
        return upper
    return Image.merge("LA", (upper, Image.fromarray(np.where(gray == transparent, 0, 255).astype(np.uint8))))


def _scale_transparency(image: Image.Image, depth: int) -> None:
    """Pillow scales the values of a PNG to 8 bits, but not the one that is transparent."""
    transparent = image.info.get("transparency")
    if image.mode == "RGB" and transparent is not None and depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    if image.mode == "L" and transparent is not None and depth < 8:
        image.info["transparency"] = transparent * 255 // (2**depth - 1)


def _ends_in_gray(image: Image.Image) -> bool:
    """Whether its last pixel is as a JPEG's decoder leaves what it has no data for, in whichever channels."""
    last = image.crop((image.width - 1, image.height - 1, image.width, image.height))
    return set(last.tobytes()) <= {_GRAY - 1, _GRAY}


def _checksum(payload: bytes, size: tuple[int, int]) -> int:
    """Of the pixels of a JPEG, at the size at which it is decoded."""
    checksum = 0
    with closing(_opened(payload)) as image:
        image.draft("RGB", size)
        step = max(1, _STRIP_PIXELS // image.width)
        for top in range(0, image.height, step):
            strip = image.crop((0, top, image.width, min(image.height, top + step)))
            checksum = zlib.crc32(strip.tobytes(), checksum)
    return checksum
