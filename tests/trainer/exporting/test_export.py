"""From a network to a bundle that works, in process: a small network on crops of two photographs."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.errors import BundleError, DatasetError, StateError
from agent.reporting.timing import Timings
from agent.vision.bundle import load_bundle, write_bundle
from agent.vision.importing import describe
from tests.conftest import write_class_folders
from tests.trainer.needing_keras import NEEDING_KERAS
from tests.vision.test_bundle import manifest_of

pytestmark = NEEDING_KERAS


def timings() -> Timings:
    return Timings(node="test", runtime="test", role="trainer")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, photographs: list[np.ndarray]) -> Path:
    folder = write_class_folders(tmp_path_factory.mktemp("pictures") / "set", photographs, 60)
    torn = folder / "china" / "000.jpg"
    torn.write_bytes(torn.read_bytes()[:300])
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two convolutions with a dense layer of classes, of random weights that still tell pictures apart."""
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    x: Any = keras.layers.Rescaling(1 / 127.5, -1.0)(image)
    for width in (16, 32):
        x = keras.layers.Conv2D(width, 3, strides=2, activation="relu")(x)
    x = keras.layers.Dense(4)(keras.layers.Dense(24, activation="relu")(keras.layers.GlobalAveragePooling2D()(x)))
    path = tmp_path_factory.mktemp("network") / "net.keras"
    keras.Model(image, x).save(path)
    return path


def order(network: Path, pictures: Path, out: Path, **more: Any) -> Any:
    from trainer.exporting.export import Order
    from trainer.networks.loading import Wanted

    return replace(Order(Wanted(str(network)), out, pictures), **more)


def test_an_int8_bundle_is_verified_and_says_where_it_comes_from(network: Path, pictures: Path, tmp_path: Path) -> None:
    from trainer.exporting.export import export

    watch = timings()
    made = export(
        order(network, pictures, tmp_path / "small", transfer=[pictures], about={"format": 9, "licence": "x"}), watch
    )
    bundle = load_bundle(tmp_path / "small")
    assert (bundle.name, bundle.height, bundle.size, bundle.input_range) == ("small", 32, 32, (0, 255))
    assert describe(bundle) | {"family": ""} == {
        "height": 32, "width": 32, "size": 32, "input_dtype": "uint8", "output_dtype": "int8", "family": "",
        "requantized": bundle.requantized, "words": [],
    }  # fmt: skip
    manifest = json.loads((tmp_path / "small" / "manifest.json").read_text())
    assert manifest["format"] == 1
    assert manifest["licence"] == "x"
    assert manifest["made_from"]["network"] == "net.keras"
    assert manifest["cut"].startswith("the global pooling")
    assert manifest["bottleneck"]["dtype"] == "int8"
    assert manifest["bottleneck"]["scale"] > 0
    assert manifest["op_versions"]["CONV_2D"] >= 1
    assert manifest["figures"]["cosine_mean"] > 0.98
    assert len(made.verified.parities) + len(made.verified.unchecked) == 2
    assert made.sample.unreadable == 1
    (transfer,) = made.transfers
    assert transfer.images >= 5
    assert transfer.float_top1 > 0.8
    assert abs(transfer.change) <= 1 / transfer.images + 1e-9
    assert any("calibrated on" in warning for warning in made.warnings)
    phases = {report.phase: report for report in watch.since_start()}
    assert set(phases) == {"export", "calibrate", "convert", "evaluate", "transfer"}
    assert all(report.role == "trainer" for report in phases.values())


def test_the_canaries_of_a_manifest_are_what_the_float_network_says(
    network: Path, pictures: Path, tmp_path: Path
) -> None:
    import base64

    from trainer.exporting.export import export
    from trainer.exporting.verification import canaries
    from trainer.networks.loading import Wanted, open_network

    export(order(network, pictures, tmp_path / "small", quantization="float32"), timings())
    recorded = json.loads((tmp_path / "small" / "manifest.json").read_text())["canaries"]
    outputs = np.frombuffer(base64.b64decode(recorded["float16"]), "<f2").reshape(recorded["count"], 32)
    exact = open_network(Wanted(str(network))).model(canaries(32, 32).astype(np.float32))
    np.testing.assert_allclose(outputs, exact, rtol=2e-3, atol=1e-4)
    assert 0.9 < recorded["cosine_min"] < 1


@pytest.mark.parametrize("quantization", ["float16", "dynamic", "float32"])
def test_other_quantizations_take_float_pictures_and_load_in_the_older_runtime(
    quantization: Any, network: Path, pictures: Path, tmp_path: Path
) -> None:
    from trainer.exporting.export import export

    made = export(order(network, pictures, tmp_path / "small", quantization=quantization), timings())
    described = describe(load_bundle(tmp_path / "small"))
    assert (described["input_dtype"], described["output_dtype"]) == ("float32", "float32")
    assert made.verified.parities[0].cosines.min() > 0.99
    assert not [warning for warning in made.warnings if "2.14" in warning or "cannot use" in warning]


def test_a_network_that_was_calibrated_on_night_pictures_still_gets_the_bytes_for_what_they_are(
    network: Path, tmp_path: Path, photographs: list[np.ndarray]
) -> None:
    from trainer.exporting.export import export

    dark = write_class_folders(tmp_path / "dark", [photograph // 4 for photograph in photographs], 60)
    made = export(order(network, dark, tmp_path / "night"), timings())
    assert made.manifest["input"] == {"height": 32, "width": 32, "range": [0, 255], "requantized": True}
    assert load_bundle(tmp_path / "night").requantized
    assert made.manifest["figures"]["cosine_mean"] > 0.98
    assert any("what lies outside of the 0 to 255 asked for is clipped" in warning for warning in made.warnings)


def test_the_report_needs_nothing_beside_it_and_shows_what_is_off(
    network: Path, pictures: Path, tmp_path: Path
) -> None:
    from trainer.exporting.export import export

    made = export(order(network, pictures, tmp_path / "<small>"), timings())
    report = (tmp_path / "<small>" / "report.html").read_text()
    assert "&lt;small&gt;" in report
    assert "<small>" not in report
    assert "data:image/png;base64," in report
    assert "http" not in report
    assert all(warning in report for warning in made.warnings)


def test_an_operator_that_is_newer_than_the_older_runtime_is_said_and_hard_swish_in_int8() -> None:
    from trainer.exporting.conversion import Operators

    (said,) = Operators({"FULLY_CONNECTED": 12, "CONV_2D": 3}).warnings("dynamic")
    assert said.startswith("FULLY_CONNECTED has version 12")
    (said,) = Operators({"HARD_SWISH": 1}).warnings("int8")
    assert "4 times" in said
    assert not Operators({"HARD_SWISH": 1}).warnings("float32")


def test_a_bundle_that_differs_from_the_float_network_is_not_written(
    network: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.exporting import export as exporting

    monkeypatch.setattr(exporting, "LEAST_COSINE", 1.1)
    with pytest.raises(BundleError, match=r"is not written: int8 differs from float"):
        exporting.export(order(network, pictures, tmp_path / "small"), timings())
    assert not list(tmp_path.iterdir())


def test_pictures_none_of_which_can_be_read_are_refused(network: Path, tmp_path: Path) -> None:
    from trainer.exporting.export import export

    (tmp_path / "bad").mkdir()
    for number in range(10):
        (tmp_path / "bad" / f"{number}.jpg").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="and 10 that cannot be read"):
        export(order(network, tmp_path / "bad", tmp_path / "small"), timings())


def test_a_disk_that_fills_leaves_the_bundle_that_was_there(small_disk: Path) -> None:
    old, new = b"old" * 3000, b"new" * 30_000
    write_bundle(small_disk / "small", old, manifest_of(old), {"report.html": b"<p>"})
    with pytest.raises(StateError, match="small cannot be written: No space left on device"):
        write_bundle(small_disk / "small", new, manifest_of(new), {"report.html": b"<p>"})
    assert load_bundle(small_disk / "small").model.read_bytes() == old
    assert [path.name for path in small_disk.iterdir()] == ["small"]


class _PowerCut(BaseException):
    """Nothing can be done about it."""


def test_an_export_that_ends_in_between_never_leaves_a_network_with_the_manifest_of_another(
    network: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.exporting.export import export

    out = tmp_path / "small"
    export(order(network, pictures, out), timings())
    old = load_bundle(out)
    for name in ("rename", "replace"):
        monkeypatch.setattr(Path, name, _ending_after_the_first(getattr(Path, name), out))
    with pytest.raises(_PowerCut):
        export(order(network, pictures, out, quantization="float32"), timings())
    assert load_bundle(out).sha256 == old.sha256


def _ending_after_the_first(rename: Callable[[Path, Path], Path], out: Path) -> Callable[[Path, Path], Path]:
    """The first change to what lies at `out` is the last thing that is done."""

    def ending(path: Path, target: Path) -> Path:
        renamed = rename(path, target)
        if {out, *out.iterdir()} & {path, Path(target)} if out.is_dir() else path == out:
            raise _PowerCut
        return renamed

    return ending
