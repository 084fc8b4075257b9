import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.errors import BundleError
from agent.vision.bundle import DEFAULT, import_model, load_bundle

NETWORKS = Path(__file__).parent / "networks"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    import_model(NETWORKS / "mean_uint8.tflite", tmp_path / "bundle")
    return tmp_path / "bundle"


def change(folder: Path, **values: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_the_shipped_bundle_is_whole() -> None:
    bundle = load_bundle(DEFAULT)
    assert (bundle.name, bundle.height, bundle.width, bundle.size) == (DEFAULT, 96, 96, 384)


def test_a_bare_network_becomes_a_bundle(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert (bundle.name, bundle.height, bundle.width, bundle.size) == ("mean_uint8", 8, 8, 3)
    assert bundle.model.read_bytes() == (NETWORKS / "mean_uint8.tflite").read_bytes()


def test_a_copy_of_a_bundle_keeps_what_people_want_to_know(folder: Path, tmp_path: Path) -> None:
    change(folder, sources=[{"name": "photographs"}], name="mine")
    copy = import_model(folder, tmp_path / "copy")
    assert copy.name == "mine"
    assert json.loads((tmp_path / "copy" / "manifest.json").read_text())["sources"] == [{"name": "photographs"}]


def test_a_network_beside_its_manifest_is_the_bundle(folder: Path, tmp_path: Path) -> None:
    change(folder, name="mine")
    assert import_model(folder / "model.tflite", tmp_path / "copy").name == "mine"


def test_a_damaged_network_is_not_loaded(folder: Path) -> None:
    model = folder / "model.tflite"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(BundleError, match="sha256"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"format": 2}, "format 2"),
        ({"input": {"height": 8}}, "width"),
        ({"input": 5}, "another form"),
        ({"bottleneck": {"size": "many"}}, "many"),
        ({"model": "../elsewhere.tflite"}, "beside its manifest"),
        ({"sha256": "0"}, "sha256"),
    ],
)
def test_a_bad_manifest_is_refused(folder: Path, values: dict[str, Any], complaint: str) -> None:
    change(folder, **values)
    with pytest.raises(BundleError, match=complaint):
        load_bundle(folder)


def test_a_manifest_that_the_network_does_not_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    change(folder, bottleneck={"size": 4})
    with pytest.raises(BundleError, match="does not have the input or the output"):
        import_model(folder, tmp_path / "copy")


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "rubbish").mkdir()
    (tmp_path / "rubbish" / "manifest.json").write_text("{")
    for source, complaint in [("empty", "no manifest"), ("rubbish", "cannot be read"), ("gone", "there is no bundle")]:
        with pytest.raises(BundleError, match=complaint):
            load_bundle(tmp_path / source)
    with pytest.raises(BundleError, match=DEFAULT):
        load_bundle("gone")
    with pytest.raises(BundleError, match="no such file"):
        import_model(tmp_path / "gone.tflite", tmp_path / "copy")
    with pytest.raises(BundleError, match="below the second"):
        import_model(NETWORKS / "mean_float32.tflite", tmp_path / "copy", (1, 0))


def test_bottlenecks_differ_by_model_preprocessing_and_runtime(folder: Path) -> None:
    bundle = load_bundle(folder)
    ids = {
        bundle.backbone_id("ai_edge_litert"),
        bundle.backbone_id("tflite_runtime"),
        replace(bundle, input_range=(-1.0, 1.0)).backbone_id("ai_edge_litert"),
        replace(bundle, height=9).backbone_id("ai_edge_litert"),
        replace(bundle, sha256="0" * 64).backbone_id("ai_edge_litert"),
    }
    assert len(ids) == 5
    assert replace(bundle, name="other", model=Path("elsewhere")).backbone_id("ai_edge_litert") in ids
