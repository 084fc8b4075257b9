import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from agent.vision.formats import Jpeg, orientation, read
from tests.conftest import encoded


def tiff(order: str = ">", entries: tuple[tuple[int, int, int, int], ...] = ((0x0112, 3, 1, 6),)) -> bytes:
    """Of entries (tag, type, count, value); a short stands at the beginning of its four bytes."""
    packed = b"".join(
        struct.pack(f"{order}HHI", *entry[:3])
        + (struct.pack(f"{order}HH", entry[3], 0) if entry[1] == 3 else struct.pack(f"{order}I", entry[3]))
        for entry in entries
    )
    start = {">": b"MM\0*", "<": b"II*\0"}[order]
    return start + struct.pack(f"{order}IH", 8, len(entries)) + packed + bytes(4)


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("value", range(1, 9))
def test_the_orientation_is_found_in_either_order_of_bytes(order: str, value: int) -> None:
    exif = tiff(order, ((0x010F, 2, 4, 0), (0x0112, 3, 1, value)))
    assert orientation([exif]) == value
    assert orientation([b"Exif\0\0" + exif]) == value


@pytest.mark.parametrize(
    "exif",
    {
        "nothing": b"",
        "noise": b"Exif\0\0" + bytes(range(256)),
        "its heading alone": tiff()[:8],
        "a directory behind its end": b"MM\0*" + struct.pack(">I", 1 << 31),
        "more entries than it holds": tiff()[:8] + b"\xff\xff" + tiff()[10:],
        "torn in the entry": tiff()[:16],
        "no orientation": tiff(entries=((0x010F, 3, 1, 6),)),
        "0": tiff(entries=((0x0112, 3, 1, 0),)),
        "9": tiff(entries=((0x0112, 3, 1, 9),)),
        "text": tiff(entries=((0x0112, 2, 1, 6),)),
        "two values": tiff(entries=((0x0112, 3, 2, 6),)),
        "a fraction": tiff(entries=((0x0112, 5, 1, 6),)),
    }.items(),
    ids=lambda item: item[0],
)
def test_exif_that_says_no_orientation_is_none(exif: tuple[str, bytes]) -> None:
    assert orientation([exif[1]]) == 1
    assert orientation([exif[1], tiff()]) == 6


def test_a_directory_that_leads_back_to_itself_is_read_once() -> None:
    assert orientation([tiff()[:-4] + struct.pack(">I", 8)]) == 6


@given(st.binary(max_size=200))
def test_whatever_the_exif_holds_there_is_an_orientation(noise: bytes) -> None:
    assert orientation([noise, b"MM\0*" + noise, b"Exif\0\0II*\0" + noise]) in range(1, 9)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP"])
@given(st.data())
def test_whatever_a_file_holds_it_is_read(format: str, data: st.DataObject) -> None:
    payload = bytearray(encoded(np.zeros((9, 9, 3), np.uint8), format))
    for place in data.draw(st.lists(st.integers(0, len(payload) - 1), max_size=20)):
        payload[place] = data.draw(st.integers(0, 255))
    torn = bytes(payload[: data.draw(st.integers(0, len(payload)))])
    assert len(read(torn).content()) <= len(torn) + 2, "no more than that, and an end marker"


def test_a_jpeg_that_comes_line_by_line_is_known(photographs: list[np.ndarray]) -> None:
    def one_scan(**options: object) -> bool:
        jpeg = read(encoded(photographs[0], "JPEG", **options))
        assert isinstance(jpeg, Jpeg)
        assert jpeg.ended
        assert jpeg.is_complete()
        return jpeg.one_scan

    assert one_scan()
    assert not one_scan(progressive=True)


def test_a_progressive_jpeg_is_complete_with_its_last_scan_alone(photographs: list[np.ndarray]) -> None:
    payload = encoded(photographs[0], "JPEG", progressive=True)
    for scan in range(1, payload.count(b"\xff\xda")):
        at = -1
        for _ in range(scan + 1):
            at = payload.index(b"\xff\xda", at + 1)
        jpeg = read(payload[:at])
        assert isinstance(jpeg, Jpeg)
        assert not jpeg.is_complete()


def test_what_a_jpeg_says_beside_its_pixels_is_left_out(photographs: list[np.ndarray]) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    buffer = io.BytesIO()
    Image.fromarray(photographs[0]).save(buffer, "JPEG", exif=exif, comment="words", icc_profile=bytes(90_000))
    content = read(buffer.getvalue()).content()
    assert len(buffer.getvalue()) - len(content) > 90_000
    assert b"a camera" not in content
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), np.asarray(Image.open(buffer)))
