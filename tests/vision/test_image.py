import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from agent.errors import ImageError
from agent.vision.image import decode
from tests.conftest import encoded


def test_a_jpeg_becomes_pixels_of_the_asked_size(jpegs: list[bytes]) -> None:
    pixels = decode(jpegs[0], 96, 64)
    assert pixels.shape == (64, 96, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("format", ["PNG", "BMP", "JPEG", "WEBP"])
def test_every_format_gives_about_the_same_pixels(photographs: list[np.ndarray], format: str) -> None:
    expected = np.asarray(Image.fromarray(photographs[0]).resize((96, 96), Image.Resampling.BILINEAR), dtype=float)
    pixels = decode(encoded(photographs[0], format), 96, 96)
    assert np.abs(pixels - expected).mean() < 4


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_every_mode_becomes_rgb(photographs: list[np.ndarray], mode: str) -> None:
    buffer = io.BytesIO()
    picture = Image.fromarray(photographs[0]).convert(mode)
    picture.save(buffer, "JPEG" if mode == "CMYK" else "PNG")
    pixels = decode(buffer.getvalue(), 48, 48)
    assert pixels.shape == (48, 48, 3)
    assert pixels.std() > 10


def test_a_palette_with_transparency_is_read_without_a_warning(photographs: list[np.ndarray]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(photographs[1]).quantize(16).save(buffer, "PNG", transparency=bytes(range(16)))
    assert decode(buffer.getvalue(), 32, 32).shape == (32, 32, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright_by_its_exif(photographs: list[np.ndarray], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(photographs[0]).save(buffer, "PNG", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(buffer.getvalue())))
    expected = decode(encoded(np.asarray(upright), "PNG"), 80, 40).astype(int)
    assert np.abs(decode(buffer.getvalue(), 80, 40) - expected).mean() < 1


def test_an_empty_body_is_refused() -> None:
    with pytest.raises(ImageError, match="0 bytes"):
        decode(b"", 96, 96)


@pytest.mark.parametrize("payload", [b"hello", b"GIF89a" + bytes(100), bytes(10_000), b"\xff\xd8\xff"])
def test_what_is_no_picture_is_refused(payload: bytes) -> None:
    with pytest.raises(ImageError, match="not a picture|torn"):
        decode(payload, 96, 96)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.97])
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_truncated_picture_is_refused(photographs: list[np.ndarray], share: float, format: str) -> None:
    payload = encoded(photographs[0], format)
    with pytest.raises(ImageError, match="torn|not a picture"):
        decode(payload[: int(share * len(payload))], 96, 96)


def test_a_huge_picture_is_refused_before_its_pixels_are_read() -> None:
    buffer = io.BytesIO()
    Image.new("L", (13_000, 13_000)).save(buffer, "JPEG", quality=10)
    with pytest.raises(ImageError, match="13000 x 13000"):
        decode(buffer.getvalue(), 96, 96)


def test_the_limit_of_pixels_is_the_callers(jpegs: list[bytes]) -> None:
    with pytest.raises(ImageError, match="the limit is 1000"):
        decode(jpegs[0], 96, 96, max_pixels=1000)
