"""Pictures that take much memory when they are decoded, many at once, by every door."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.bounds.witness import Witness, statuses
from tests.conftest import encoded
from tests.daemon import PATIENCE_S, Daemon
from tests.mosquitto import Listener, Mosquitto
from tests.waiting import until

pytestmark = pytest.mark.bounds

AT_ONCE = 16
BY_MQTT = 4


def blank(mode: str, width: int, height: int, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height), "white").save(buffer, format, **options)
    return buffer.getvalue()


def noise(width: int, height: int, format: str, **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height // 10, width // 10, 3), np.uint8)
    return encoded(pixels.repeat(10, 0).repeat(10, 1), format, **options)


def blank_gray_of_16_bits(width: int, height: int) -> bytes:
    return encoded(np.full((height, width), 40_000, np.uint16), "PNG")


def hollow_png(width: int, height: int) -> bytes:
    """It declares so many pixels and holds 100,000 bytes of zeros, packed."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def talkative_png() -> bytes:
    """Of one pixel, and of 60 texts of a megabyte each, packed."""
    png = blank("RGB", 1, 1)
    text = b"Comment\0\0" + zlib.compress(bytes(1 << 20), 9)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    at = png.index(b"IDAT") - 4
    return png[:at] + 60 * chunk + png[at:]


def flat_bmp() -> bytes:
    """It declares 262,304 x 120 pixels and holds few."""
    bmp = bytearray(blank("RGB", 64, 64, "BMP"))
    bmp[18:26] = struct.pack("<ii", 262_304, 120)
    return bytes(bmp)


# Each with the status that it gets, where there is time for it.
PICTURES: dict[str, tuple[int, Callable[[], bytes]]] = {
    "40 megapixels, transparent": (200, lambda: blank("RGBA", 8000, 5000)),
    "12 megapixels": (200, lambda: blank("RGB", 4000, 3000)),
    "4 megapixels": (200, lambda: blank("RGB", 2000, 2000)),
    "gray, turned": (200, lambda: blank("L", 6000, 6000)),
    "whole webp": (400, lambda: blank("RGB", 6000, 6000, "WEBP", method=0)),
    "webp, lossless": (400, lambda: noise(3400, 3400, "WEBP", lossless=True, quality=0, method=0)),
    "progressive jpeg": (200, lambda: noise(5000, 4000, "JPEG", progressive=True, subsampling=0)),
    "torn progressive jpeg": (400, lambda: noise(5000, 4000, "JPEG", progressive=True)[:-5000]),
    "large bmp": (200, lambda: blank("RGB", 1800, 1800, "BMP")),
    "flat bmp": (400, flat_bmp),
    "hollow png": (400, lambda: hollow_png(6000, 6000)),
    "png of one column": (400, lambda: blank("L", 1, 30_000_000, compress_level=9)),
    "png of one line": (400, lambda: blank("L", 30_000_000, 1, compress_level=9)),
    "talkative png": (200, talkative_png),
    "16 bits of gray": (200, lambda: blank_gray_of_16_bits(4000, 3000)),
    "jpeg without its end": (200, lambda: noise(4000, 3000, "JPEG")[:-2]),
    "progressive jpeg without its end": (200, lambda: noise(2000, 1000, "JPEG", progressive=True)[:-2]),
}


@cache
def picture(kind: str) -> bytes:
    _, made = PICTURES[kind]
    return made()


def posted(daemon: Daemon, kind: str, times: int) -> set[int]:
    """What so many posts over one connection were answered."""
    return set(statuses(daemon, "POST", "/v1/frames", picture(kind), times))


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("board") / "state") as running:
        yield running


@pytest.mark.parametrize("kind", PICTURES)
def test_one_picture_over_many_connections(daemon: Daemon, jpegs: list[bytes], kind: str) -> None:
    picture(kind)
    with Witness(daemon, jpegs[0]), ThreadPoolExecutor(AT_ONCE) as pool:
        answers = set[int]().union(*pool.map(lambda _: posted(daemon, kind, 3), range(AT_ONCE)))
    status, _ = PICTURES[kind]
    assert status in answers
    assert answers <= {status, 503}


def test_all_of_them_at_once(daemon: Daemon, jpegs: list[bytes]) -> None:
    for kind in PICTURES:
        picture(kind)
    with Witness(daemon, jpegs[0]), ThreadPoolExecutor(len(PICTURES)) as pool:
        answers = dict(zip(PICTURES, pool.map(lambda kind: posted(daemon, kind, 3), PICTURES), strict=True))
    assert {200, 400} <= set[int]().union(*answers.values())
    for kind, (status, _) in PICTURES.items():
        assert answers[kind] <= {status, 503}, kind


def test_what_a_refused_picture_took_is_free_while_its_connection_stays_open(
    daemon: Daemon, jpegs: list[bytes]
) -> None:
    with Witness(daemon, jpegs[0]), ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: posted(daemon, "hollow png", 20), range(12)))
    assert answers == 12 * [{400}], "none had to wait for room until it was busy"


def test_by_mqtt_and_a_watched_folder_too(tmp_path: Path, jpegs: list[bytes]) -> None:
    watched = tmp_path / "watched"
    watched.mkdir()
    with Mosquitto(tmp_path) as broker:
        config = {
            "mqtt": {"host": broker.host, "port": broker.port, "node": "board"},
            "folder": {"path": str(watched), "after": "delete", "scan_s": 0.5},
        }
        with Daemon(tmp_path / "state", config) as daemon, Listener(broker) as client:
            large = [picture(kind) for kind in ("40 megapixels, transparent", "12 megapixels", "progressive jpeg")]
            with Witness(daemon, jpegs[0]):
                for number, payload in enumerate(BY_MQTT * large):
                    client.publish(f"lastlayer/board/frame/camera{number % 3}", payload)
                    (watched / f".{number}").write_bytes(payload)
                    (watched / f".{number}").rename(watched / f"{number}.png")
                until(lambda: not list(watched.glob("*.png")), PATIENCE_S)
            sources = daemon.ask("GET", "/v1/status")["sources"]
            assert sources["folder"]["frames"] == len(BY_MQTT * large)
            assert sources["mqtt"]["frames"] > 0
