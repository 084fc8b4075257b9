"""What several rooms' tests need: real photographs, and the folder of photographs and models beside the project."""

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from tests.daemon import lastlayer
from tests.mosquitto import Mosquitto

# Tests run beside others on small machines: how long an example takes says nothing.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

SHARED = Path(os.environ.get("LASTLAYER_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the checkout. Tests that need it are skipped where it is not."""
    if not (SHARED / "models").is_dir():
        pytest.skip(f"no {SHARED}: this test needs its photographs and models")
    return SHARED


@pytest.fixture(scope="session")
def photographs() -> list[np.ndarray]:
    """Two real photographs, uint8 [427, 640, 3], that come inside scikit-learn."""
    from sklearn.datasets import load_sample_images

    return [np.asarray(picture) for picture in load_sample_images().images]


@pytest.fixture(scope="session")
def jpegs(photographs: list[np.ndarray]) -> list[bytes]:
    """The two photographs as JPEG files."""
    return [encoded(photograph, "JPEG") for photograph in photographs]


def encoded(pixels: np.ndarray, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def crops(pixels: np.ndarray, count: int, seed: int, size: int = 160) -> list[bytes]:
    """JPEG files of random crops of a photograph: different pictures of the same thing."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, [pixels.shape[0] - size, pixels.shape[1] - size], size=(count, 2))
    return [encoded(pixels[top : top + size, left : left + size], "JPEG") for top, left in corners]


def write_class_folders(folder: Path, photographs: list[np.ndarray], count: int, seed: int = 0) -> Path:
    """A folder of class folders `china` and `flower` with `count` crops each."""
    for label, photograph in zip(("china", "flower"), photographs, strict=True):
        (folder / label).mkdir(parents=True)
        for number, payload in enumerate(crops(photograph, count, seed)):
            (folder / label / f"{number:03d}.jpg").write_bytes(payload)
    return folder


@pytest.fixture(scope="session")
def learnt_once(tmp_path_factory: pytest.TempPathFactory, photographs: list[np.ndarray]) -> Path:
    folder = tmp_path_factory.mktemp("learnt")
    pictures = write_class_folders(folder / "pictures", photographs, 40)
    lastlayer("--state", folder / "state", "learn", pictures)
    lastlayer("--state", folder / "state", "retrain")
    return folder / "state"


@pytest.fixture
def state(learnt_once: Path, tmp_path: Path) -> Path:
    """A state of one's own that has learnt 40 crops each of the labels china and flower, with head 1 in service."""
    return Path(shutil.copytree(learnt_once, tmp_path / "state"))


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that runs, and lets everyone in."""
    with Mosquitto(tmp_path) as broker:
        yield broker
