"""A photograph to send, and pictures to teach a head with: scikit-learn brings one."""

import io
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

PICTURE_BYTES = 100_000
OF_EACH = 20  # pictures to teach


def photograph(size: int = PICTURE_BYTES) -> tuple[Image.Image, bytes]:
    """scikit-learn's china.jpg, 640 x 427, and the JPEG of it whose quality brings it closest to `size` bytes."""
    spec = find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("the photograph comes inside scikit-learn: pip install scikit-learn")
    picture = Image.open(Path(spec.submodule_search_locations[0]) / "datasets" / "images" / "china.jpg")
    return picture, min((jpeg(picture, quality) for quality in range(70, 98)), key=lambda file: abs(len(file) - size))


def jpeg(picture: Image.Image, quality: int = 90) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def halves(picture: Image.Image) -> Iterator[tuple[str, int, bytes]]:
    """Label, number and JPEG of square parts of the left and of the right of a picture."""
    width, height = picture.size
    side = width // 4
    for label, left in (("left", 0), ("right", width // 2)):
        for number in range(OF_EACH):
            x, y = left + 5 * number, number * (height - side) // OF_EACH
            yield label, number, jpeg(picture.crop((x, y, x + side, y + side)))
