import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image, ImageOps

from agent.errors import ImageError
from agent.region import Cut
from agent.vision.image import Crop, Picture, decode, decode_upright
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


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(colour: int, depth: int, rows: list[bytes], width: int, *chunks: bytes) -> bytes:
    """Of rows of packed values; 0 is gray, 2 colour, 3 of a palette, 4 gray with alpha."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", data), png_chunk(b"IEND", b""))
    )


def as_png(picture: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_16_bits_of_gray_are_scaled_and_not_clipped() -> None:
    values = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)
    pixels = decode(as_png(Image.fromarray(values)), 16, 16)
    np.testing.assert_array_equal(pixels[..., 0], np.arange(256).reshape(16, 16))
    np.testing.assert_array_equal(pixels, decode(as_png(Image.fromarray(pixels)), 16, 16))


def test_what_a_sensor_of_12_bits_left_in_16_is_seen_however_bright_it_is() -> None:
    values = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)
    bright = decode(as_png(Image.fromarray(values)), 16, 16)
    np.testing.assert_array_equal(bright[..., 0], np.arange(256).reshape(16, 16))
    dim = decode(as_png(Image.fromarray(values // 4)), 16, 16)
    # Not // 4: on i386 Debian 12's numpy gives 32-bit numbers back as they were.
    np.testing.assert_array_equal(dim[..., 0], np.arange(256).reshape(16, 16) >> 2)


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bits_are_what_8_bits_are_in_every_kind_of_png(colour: int, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (8, 8, channels), np.uint8)
    eight = png(colour, 8, [row.tobytes() for row in values], 8)
    sixteen = png(colour, 16, [(row.astype(">u2") * 257).tobytes() for row in values], 8)
    np.testing.assert_array_equal(decode(sixteen, 8, 8), decode(eight, 8, 8))


def test_a_gray_of_16_bits_that_is_transparent_is_that_one_alone() -> None:
    row = struct.pack(">3H", 1000, 1001, 40_000)
    pixels = decode(png(0, 16, [row], 3, png_chunk(b"tRNS", struct.pack(">H", 1000))), 3, 1)
    assert pixels[0, :, 0].tolist() == [255, 3, 156]


@pytest.mark.parametrize(("depth", "packed"), [(1, 0b01000000), (2, 0b00010000), (4, 0x01), (8, 0)])
def test_a_gray_of_few_bits_that_is_transparent_shows_the_background(depth: int, packed: int) -> None:
    row = bytes([packed]) if depth < 8 else bytes([0, 1])
    pixels = decode(png(0, depth, [row], 2, png_chunk(b"tRNS", struct.pack(">H", 1))), 2, 1)
    assert pixels[0, :, 0].tolist() == [0, 255]


def hidden(mode: str, seed: int) -> Image.Image:
    """Half of it transparent, or nearly, over colours of no meaning."""
    pixels = np.full((40, 60, 4), (200, 40, 90, 255), np.uint8)
    pixels[:, 30:, 3] = 0
    pixels[:, 30:, :3] = np.random.default_rng(seed).integers(0, 256, 3, np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP"])
def test_what_is_hidden_under_transparency_makes_no_difference(mode: str, format: str) -> None:
    def stored(seed: int) -> bytes:
        buffer = io.BytesIO()
        options = {"lossless": True, "exact": True} if format == "WEBP" else {}
        picture = hidden(mode, seed)
        if format == "BMP":
            return bitmap_with_alpha(np.asarray(picture.convert("RGBA")))
        picture.save(buffer, format, **options)
        return buffer.getvalue()

    pixels = decode(stored(1), 7, 7)
    np.testing.assert_array_equal(pixels, decode(stored(2), 7, 7))
    over_white = Image.new("RGB", (60, 40), "white")
    over_white.paste(hidden(mode, 1).convert("RGBA").crop((0, 0, 30, 40)).convert("RGB"))
    np.testing.assert_array_equal(pixels, decode(as_png(over_white), 7, 7))


def bitmap_with_alpha(pixels: np.ndarray) -> bytes:
    """A BMP of 32 bits, the last 8 of them alpha, as later versions of its header say."""
    height, width = pixels.shape[:2]
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, 4 * width * height, 0, 0, 0, 0) + masks
    data = pixels[::-1, :, [2, 1, 0, 3]].tobytes()
    header += bytes(108 - len(header))
    return b"BM" + struct.pack("<IHHI", 122 + len(data), 0, 0, 122) + header + data


def test_a_bitmap_whose_alpha_was_never_filled_in_is_opaque() -> None:
    pixels = np.full((4, 4, 4), (10, 20, 30, 0), np.uint8)
    assert decode(bitmap_with_alpha(pixels), 2, 2)[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("kind", ["one entry", "each entry", "colour"])
def test_transparent_colours_show_the_background_whatever_they_are(kind: str) -> None:
    def stored(colour: tuple[int, int, int]) -> bytes:
        picture = Image.new("RGB", (8, 8), (1, 2, 3))
        picture.paste(colour, (0, 0, 4, 8))
        if kind == "colour":
            return as_png(picture, transparency=colour)
        palette = picture.quantize(2)
        index = int(np.asarray(palette)[0, 0])
        alphas = bytes(0 if entry == index else 128 for entry in range(2))
        return as_png(palette, transparency=index if kind == "one entry" else alphas)

    pixels = decode(stored((250, 0, 0)), 8, 8)
    assert (pixels[:, :4] == 255).all()
    np.testing.assert_array_equal(pixels, decode(stored((0, 90, 30)), 8, 8))


def test_what_is_half_transparent_is_mixed_with_the_background() -> None:
    pixels = np.full((4, 4, 4), (100, 0, 255, 128), np.uint8)
    assert decode(encoded(pixels, "PNG"), 2, 2)[0, 0].tolist() == [177, 127, 255]


GARBAGE = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12\0\x03\0\0"


@pytest.mark.parametrize("exif", [GARBAGE, b"Exif\0\0", b"Exif\0\0" + bytes(range(200)), GARBAGE[:20]])
@pytest.mark.parametrize("format", ["PNG", "WEBP", "JPEG", "JPEG with a density"])
def test_exif_that_is_garbage_is_none(photographs: list[np.ndarray], exif: bytes, format: str) -> None:
    options: dict[str, object] = {"dpi": (300, 300)} if "density" in format else {}
    payload = encoded(photographs[0], format[:4].strip(), exif=exif, **options)
    np.testing.assert_array_equal(
        decode(payload, 64, 64), decode(encoded(photographs[0], format[:4].strip(), **options), 64, 64)
    )


@pytest.mark.parametrize(
    "segment",
    [
        b"\xff\xe0\0\x07JFIF\0",
        b"\xff\xe1\0\x22" + GARBAGE.ljust(32, b"\0"),
        b"\xff\xe2\0\x0aMPF\0MM\0*",
        b"\xff\xe2\0\x10ICC_PROFILE\0\1\2",
        b"\xff\xed\0\x16Photoshop 3.0\x008BIM\4\4",
        b"\xff\xee\0\x07Adobe",
    ],
)
def test_a_jpeg_that_says_garbage_beside_its_pixels_is_whole(jpegs: list[bytes], segment: bytes) -> None:
    np.testing.assert_array_equal(decode(jpegs[0][:2] + segment + jpegs[0][2:], 64, 64), decode(jpegs[0], 64, 64))


@pytest.mark.parametrize("name", [b"eXIf", b"iCCP", b"acTL", b"fcTL", b"gAMA", b"zTXt"])
def test_a_png_that_says_garbage_beside_its_pixels_is_whole(photographs: list[np.ndarray], name: bytes) -> None:
    payload = encoded(photographs[0], "PNG")
    chunk = png_chunk(name, b"\xff\0\xff")[:-1] + b"?"
    np.testing.assert_array_equal(decode(payload[:33] + chunk + payload[33:], 64, 64), decode(payload, 64, 64))


def test_a_picture_that_holds_several_is_its_first(photographs: list[np.ndarray]) -> None:
    first, second = (Image.fromarray(pixels) for pixels in photographs)
    for format in ("MPO", "PNG", "WEBP"):
        buffer = io.BytesIO()
        first.save(buffer, format, save_all=True, append_images=[second])
        expected = decode(encoded(photographs[0], "JPEG"), 64, 64).astype(int)
        assert np.abs(decode(buffer.getvalue(), 64, 64) - expected).mean() < 8


AFTER_THE_SCAN = {
    "nothing": b"",
    "half of its end": b"\xff",
    "zeros": bytes(512),
    "erased flash": b"\xff" * 512,
    "zeros, and its end": bytes(100) + b"\xff\xd9",
    "a part's end": b"\r\n--frame\r\n",
    "another's beginning": b"\xff\xd8\xff\xe0\0\x10JFIF\0",
}
WAYS: dict[str, dict[str, object]] = {
    "as usual": {},
    "progressive": {"progressive": True},
    "all colours": {"subsampling": 0, "quality": 95},
    "codes of its own": {"optimize": True},
    "afresh": {"restart_marker_blocks": 7},
}


@pytest.mark.parametrize("after", AFTER_THE_SCAN)
@pytest.mark.parametrize("way", WAYS)
def test_a_jpeg_without_its_end_is_whole(photographs: list[np.ndarray], way: str, after: str) -> None:
    payload = encoded(photographs[1], "JPEG", **WAYS[way])
    pixels = decode(payload[:-2] + AFTER_THE_SCAN[after], 96, 64)
    np.testing.assert_array_equal(pixels, decode(payload, 96, 64))


def test_a_jpeg_before_which_and_behind_which_a_stream_goes_on_is_whole(jpegs: list[bytes]) -> None:
    payload = b"\r\n" + jpegs[0] + b"\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n" + jpegs[1]
    np.testing.assert_array_equal(decode(payload, 96, 64), decode(jpegs[0], 96, 64))


@pytest.mark.parametrize("after", ["nothing", "another's beginning", "zeros, and its end", "its end"])
@pytest.mark.parametrize("way", WAYS)
def test_a_jpeg_that_lacks_rows_is_torn(photographs: list[np.ndarray], way: str, after: str) -> None:
    payload = encoded(photographs[1], "JPEG", **WAYS[way])
    rest = b"\xff\xd9" if after == "its end" else AFTER_THE_SCAN[after]
    if way == "progressive" and rest.endswith(b"\xff\xd9"):
        pytest.skip("each of its scans holds all rows: what says that it ends is only less sharp")
    for lost in (len(payload) // 2, len(payload) // 5, 2000):
        with pytest.raises(ImageError, match="torn"):
            decode(payload[:-lost] + rest, 96, 64)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("way", WAYS)
def test_however_little_a_jpeg_lacks_it_is_torn_or_the_same(photographs: list[np.ndarray], way: str, mode: str) -> None:
    buffer = io.BytesIO()
    picture = Image.fromarray(photographs[1][:200, :200]).convert(mode)
    picture.save(buffer, "JPEG", **WAYS[way])
    payload = buffer.getvalue()
    whole = decode(payload, 200, 200)
    for lost in range(3, 100):
        try:
            pixels = decode(payload[:-lost], 200, 200)
        except ImageError:
            continue
        np.testing.assert_array_equal(pixels, whole, err_msg=f"without the last {lost} bytes")


def test_what_a_smaller_size_does_not_show_of_a_progressive_jpeg_counts_too() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8).repeat(10, 0).repeat(10, 1)
    payload = encoded(pixels, "JPEG", progressive=True)
    np.testing.assert_array_equal(decode(payload[:-2], 48, 48), decode(payload, 48, 48))
    for lost in (100, 2000):
        with pytest.raises(ImageError, match="torn"):
            decode(payload[:-lost], 48, 48)


def test_a_large_progressive_jpeg_is_not_whole_without_its_end() -> None:
    payload = encoded(np.zeros((1500, 1500, 3), np.uint8), "JPEG", progressive=True)
    assert not decode(payload, 48, 48).any()
    with pytest.raises(ImageError, match="torn"):
        decode(payload[:-2], 48, 48)


@pytest.mark.parametrize("gray", [127, 128, 129])
def test_a_jpeg_that_is_gray_where_it_ends_is_whole(gray: int) -> None:
    for options in WAYS.values():
        payload = encoded(np.full((64, 64, 3), gray, np.uint8), "JPEG", **options)
        assert (decode(payload, 8, 8) == gray).all()
        assert (decode(payload[:-2], 8, 8) == gray).all()


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP"])
def test_what_follows_a_picture_is_no_part_of_it(photographs: list[np.ndarray], format: str) -> None:
    payload = encoded(photographs[0], format)
    for rest in (bytes(600), b"\r\n--frame\r\n", payload):
        np.testing.assert_array_equal(decode(payload + rest, 64, 64), decode(payload, 64, 64))


def test_a_png_without_its_end_is_whole(photographs: list[np.ndarray]) -> None:
    payload = encoded(photographs[0], "PNG")
    for rest in (b"", bytes(100), b"junk"):
        np.testing.assert_array_equal(decode(payload[:-12] + rest, 64, 64), decode(payload, 64, 64))


@pytest.mark.parametrize("short_side", [None, 50, 10_000])
def test_a_picture_is_decoded_at_its_own_size_too(photographs: list[np.ndarray], short_side: int | None) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    height, width = photographs[0].shape[:2]
    payload = encoded(photographs[0], "PNG", exif=exif)
    pixels = decode_upright(payload, short_side)
    if short_side == 50:
        assert pixels.shape == (round(50 * width / height), 50, 3)
    else:
        np.testing.assert_array_equal(pixels, np.rot90(photographs[0], -1))


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
from typing import Literal
import numpy as np
from PIL import Image
from agent.errors import ImageError
from agent.vision.image import Crop, Picture, decode
def peak(): return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) << 10
small, large = (Path(path).read_bytes() for path in sys.argv[1:])
decode(small, 224, 224)
picture, before = Picture(large, [Crop(224, 224)]), peak()
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
    "jpeg, without its end": lambda: stored("RGB", "JPEG", quality=50)[:-2],
    "jpeg, progressive, without its end": lambda: stored("RGB", "JPEG", quality=50, progressive=True)[:-2],
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
    assert Picture(encoded(np.zeros((100_000, 1, 3), np.uint8), "PNG"), [Crop(224, 224)]).decoding_bytes > 224 * 100_000


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
    waiting = [Picture(payload, [Crop(96, 96)]) for _ in range(20)]
    assert address_space() - before < 64 << 20
    assert waiting[0].pixels()[0].shape == (96, 96, 3)


def cut_by_pillow(payload: bytes, crop: Crop) -> np.ndarray:
    """The same from a whole decode, in Pillow's own steps."""
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(payload))).convert("RGB")
    cut = upright.crop(crop.box(*upright.size)).resize(crop.scaled, Image.Resampling.BILINEAR)
    return np.asarray(cut.rotate(-crop.cut.turned, expand=True))


REGIONS = ((0.0, 0.0, 1.0, 1.0), (0.62, 0.1, 0.2, 0.35), (0.0, 0.5, 1.0, 0.5), (0.999, 0.999, 0.001, 0.001))


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_region_is_cut_out_of_the_upright_picture_then_turned(
    orientation: int, region: tuple[float, float, float, float], turned: Literal[0, 90, 180, 270]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (137, 211, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    crop = Crop(48, 32, Cut(region, turned))
    (cut,) = Picture(file.getvalue(), [crop]).pixels()
    assert cut.shape == (32, 48, 3)
    # Pillow does the shorter way first, of width and height: rounding comes in another order there.
    np.testing.assert_allclose(cut, cut_by_pillow(file.getvalue(), crop), atol=1)


def test_crops_of_one_picture_share_its_decode_and_keep_their_pixels(photographs: list[np.ndarray]) -> None:
    file = io.BytesIO()
    Image.fromarray(photographs[0]).resize((1600, 1200)).save(file, "JPEG", quality=92)
    whole, region = Crop(96, 96), Crop(96, 96, Cut((0.6, 0.2, 0.1, 0.1)))
    alone, (first, second) = Picture(file.getvalue(), [whole]), Picture(file.getvalue(), [whole, region]).pixels()
    np.testing.assert_allclose(first, alone.pixels()[0], atol=40)  # decoded at another size
    np.testing.assert_allclose(second, cut_by_pillow(file.getvalue(), region), atol=2)
    assert Picture(file.getvalue(), [region]).decoding_bytes > 10 * Picture(file.getvalue(), [whole]).decoding_bytes
