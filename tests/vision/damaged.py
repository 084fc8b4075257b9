"""Pictures of all kinds, changed at some places."""

import io
import struct
import zlib

import numpy as np
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def _pictures() -> list[bytes]:
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "maker", 72.0
    exif[0x8769] = {0x9003: "2026:01:01 00:00:00"}
    exif[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0)}
    words = PngInfo()
    words.add_text("said", "x" * 300, zip=True)
    words.add_itxt("again", "y" * 300, zip=True)
    made = []

    def keep(image: Image.Image, format: str, **options: object) -> None:
        file = io.BytesIO()
        image.save(file, format, **options)
        made.append(file.getvalue())

    for options in ({}, {"progressive": True}, {"exif": exif, "dpi": (72, 72)}, {"icc_profile": b"x" * 200}):
        keep(rgb, "JPEG", **options)
    for mode in ("L", "CMYK"):
        keep(rgb.convert(mode), "JPEG")
    for mode in ("RGB", "RGBA", "LA", "P", "1"):
        keep(rgb.convert(mode), "PNG", pnginfo=words, exif=exif)
    keep(Image.fromarray(np.arange(2240, dtype=np.uint16).reshape(40, 56)), "PNG")
    keep(rgb, "PNG", transparency=(1, 2, 3), icc_profile=b"y" * 100)
    for mode in ("RGB", "P", "1"):
        keep(rgb.convert(mode), "BMP")
    for mode in ("RGB", "RGBA"):
        keep(rgb.convert(mode), "WEBP", lossless=True, exif=exif)
    return made


_PICTURES = _pictures()
_NUMBERS = (b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\1", b"\xff\xff")


def damaged() -> st.SearchStrategy[bytes]:
    return st.builds(_changed, st.sampled_from(_PICTURES), st.lists(_changes(), min_size=1, max_size=4), st.booleans())


def _changes() -> st.SearchStrategy[tuple[float, int, bytes]]:
    """Where, as a share, how many bytes are taken out, and what is put there."""
    near = st.floats(0, 0.1)
    content = st.one_of(st.sampled_from(_NUMBERS), st.binary(max_size=8))
    return st.tuples(st.one_of(near, st.floats(0, 1)), st.sampled_from((0, 1, 2, 4, 4, 8, 1 << 20)), content)


def _changed(picture: bytes, changes: list[tuple[float, int, bytes]], mend: bool) -> bytes:
    content = bytearray(picture)
    for share, taken, put in changes:
        begin = round(share * len(content))
        content[begin : begin + taken] = put
    return _with_checksums(content) if mend and picture.startswith(b"\x89PNG") else bytes(content)


def _with_checksums(png: bytearray) -> bytes:
    """Pillow looks no further than a chunk whose checksum is wrong."""
    begin = 8
    while begin + 12 <= len(png):
        (size,) = struct.unpack_from(">I", png, begin)
        end = begin + 8 + size
        if end + 4 > len(png):
            break
        struct.pack_into(">I", png, end, zlib.crc32(png[begin + 4 : end]))
        begin = end + 4
    return bytes(png)
