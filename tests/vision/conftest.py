from pathlib import Path

import pytest

from agent.vision.importing import import_model
from tests.vision.test_bundle import NETWORKS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a bundle of a small network."""
    import_model(NETWORKS / "mean_uint8.tflite", tmp_path / "bundle")
    return tmp_path / "bundle"
