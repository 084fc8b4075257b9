"""A model from elsewhere becomes a bundle, or is refused."""

import json
from pathlib import Path

import pytest

from agent.errors import BundleError
from agent.vision.bundle import load_bundle
from agent.vision.importing import import_model
from tests.vision.test_bundle import NETWORKS, change


def test_a_bare_network_becomes_a_bundle(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert (bundle.name, bundle.height, bundle.width, bundle.size) == ("mean_uint8", 8, 8, 3)
    assert bundle.model.read_bytes() == (NETWORKS / "mean_uint8.tflite").read_bytes()


def test_a_copy_of_a_bundle_keeps_what_people_want_to_know(folder: Path, tmp_path: Path) -> None:
    change(folder, sources=[{"name": "photographs"}], name="mine")
    copy = import_model(folder, tmp_path / "copy")
    assert copy.name == "mine"
    assert json.loads((tmp_path / "copy" / "manifest.json").read_text())["sources"] == [{"name": "photographs"}]


def test_a_copy_has_one_name_for_its_network_and_keeps_the_rest(folder: Path, tmp_path: Path) -> None:
    (folder / "model.tflite").rename(folder / "net.tflite")
    change(folder, model="net.tflite", sources=["photographs"])
    copy = import_model(folder, tmp_path / "copy")
    assert (copy, copy.model.name) == (load_bundle(tmp_path / "copy"), "model.tflite")
    assert json.loads((tmp_path / "copy" / "manifest.json").read_text())["sources"] == ["photographs"]


def test_a_network_beside_its_manifest_is_the_bundle(folder: Path, tmp_path: Path) -> None:
    change(folder, name="mine")
    assert import_model(folder / "model.tflite", tmp_path / "copy").name == "mine"


def test_a_manifest_that_the_network_does_not_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    change(folder, bottleneck={"size": 4})
    with pytest.raises(BundleError, match="does not have the input or the output"):
        import_model(folder, tmp_path / "copy")


def test_what_cannot_be_imported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such file"):
        import_model(tmp_path / "gone.tflite", tmp_path / "copy")
    with pytest.raises(BundleError, match="below the second"):
        import_model(NETWORKS / "mean_float32.tflite", tmp_path / "copy", (1, 0))
