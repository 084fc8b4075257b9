import io
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from agent.errors import ImageError
from agent.vision.image import Picture, decode
from tests.conftest import encoded

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "LA"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_strip_by_strip_a_picture_is_what_it_is_as_a_whole(mode: str, orientation: int) -> None:
    pixels = np.random.default_rng(orientation).integers(0, 256, (700, 900, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "PNG", exif=exif)
    whole = ImageOps.exif_transpose(Image.open(buffer).convert("RGB")).resize((64, 48), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(decode(buffer.getvalue(), 64, 48), np.asarray(whole))


MEASURE = """
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
import numpy as np
from PIL import Image
from agent.errors import ImageError
from agent.vision.image import Picture, decode
def peak(): return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) << 10
small, large = (Path(path).read_bytes() for path in sys.argv[1:])
decode(small, 224, 224)
picture, before = Picture(large, 224, 224), peak()
try:
    picture.pixels()
except ImageError:
    pass
print(picture.decoding_bytes, peak() - before)
"""


def stored(mode: str, format: str, orientation: int = 1, **options: object) -> bytes:
    """A picture of 12 megapixels."""
    pixels = np.full((3000, 4000, 4), 255, np.uint8)
    pixels[::7] = np.random.default_rng(0).integers(0, 256, (4000, 4), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, format, exif=exif, **options)
    return buffer.getvalue()


def in_scans_apart(payload: bytes) -> bytes:
    """The JPEG, not progressive, says that its first scan holds one channel of three."""
    at = payload.index(b"\xff\xda")
    return payload[:at] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + payload[at + 14 :]


PICTURES: dict[str, Callable[[], bytes]] = {
    "png": partial(stored, "RGBA", "PNG", compress_level=1),
    "png, turned": partial(stored, "RGB", "PNG", orientation=6, compress_level=1),
    "bmp": partial(stored, "RGB", "BMP"),
    "webp": partial(stored, "RGB", "WEBP", quality=30, method=0),
    "webp, transparent": partial(stored, "RGBA", "WEBP", quality=30, method=0),
    "webp, lossless": partial(stored, "RGBA", "WEBP", lossless=True, quality=0, method=0),
    "jpeg": partial(stored, "RGB", "JPEG", quality=50),
    "jpeg, turned": partial(stored, "RGB", "JPEG", orientation=8, quality=50),
    "jpeg, progressive": partial(stored, "RGB", "JPEG", quality=50, progressive=True),
    "jpeg, progressive, all colours": partial(stored, "RGB", "JPEG", quality=50, progressive=True, subsampling=0),
    "jpeg, progressive, four channels": partial(stored, "CMYK", "JPEG", quality=50, progressive=True),
    "jpeg, in scans": lambda: in_scans_apart(stored("RGB", "JPEG", quality=50, subsampling=0)),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_takes_as_much_memory_as_it_says(tmp_path: Path, kind: str) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    large.write_bytes(PICTURES[kind]())
    small.write_bytes(encoded(np.zeros((300, 300, 3), np.uint8), kind[:4].strip(",")))
    command = [sys.executable, "-c", MEASURE, str(small), str(large)]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    said, took = map(int, answer.stdout.split())
    assert took <= said + (4 << 20)
    assert said <= 1.1 * took + (16 << 20)


def test_what_is_scaled_in_one_direction_counts_too() -> None:
    assert Picture(encoded(np.zeros((100_000, 1, 3), np.uint8), "PNG"), 224, 224).decoding_bytes > 224 * 100_000


def test_a_torn_picture_leaves_nothing_of_itself_behind() -> None:
    payload = encoded(np.zeros((2000, 2000, 3), np.uint8), "PNG")
    with pytest.raises(ImageError) as caught:
        decode(payload[:2000], 96, 96)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) << 12


def test_a_picture_that_waits_takes_no_room_for_its_pixels() -> None:
    payload = encoded(np.zeros((2750, 4000, 3), np.uint8), "WEBP", method=0)
    before = address_space()
    waiting = [Picture(payload, 96, 96) for _ in range(20)]
    assert address_space() - before < 64 << 20
    assert waiting[0].pixels().shape == (96, 96, 3)
