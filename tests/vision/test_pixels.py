"""What a network's input makes of the pixel bytes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.vision.backbone import Backbone
from agent.vision.bundle import load_bundle, shipped
from agent.vision.importing import import_model
from agent.vision.pixels import Input, Pixels, input_of
from tests.vision.test_backbone import backbone, image
from tests.vision.test_bundle import NETWORKS, change

BYTES = np.arange(256, dtype=np.uint8)
UINT8, INT8 = np.dtype(np.uint8), np.dtype(np.int8)


@pytest.mark.parametrize("name", ["night_uint8", "night_int8"])
def test_a_quantized_input_that_does_not_span_the_pixels_gets_the_range_that_was_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    network = backbone(name, tmp_path, (0, 1))
    real = network.scale * (network.bottleneck(image(51, 128, 255)).astype(float) - network.zero_point)
    np.testing.assert_allclose(real, [0.2, 0.502, 0.6], atol=0.004)
    assert "spans 0 to 0.6: what lies outside of the 0 to 1 asked for is clipped" in caplog.text
    again = Backbone(load_bundle(tmp_path / name))
    assert (again.bottleneck(image(51, 128, 255)) == network.bottleneck(image(51, 128, 255))).all()


def test_without_a_range_it_takes_the_bytes_as_they_are_and_a_word_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = backbone("night_uint8", tmp_path)
    real = network.scale * (network.bottleneck(image(0, 128, 255)).astype(float) - network.zero_point)
    np.testing.assert_allclose(real, [0, 0.301, 0.6], atol=0.004)
    assert "spans 0 to 0.6, which is no usual range" in caplog.text


def test_bottlenecks_by_a_range_are_not_mixed_with_those_of_the_bytes_as_they_are(tmp_path: Path) -> None:
    plain = import_model(NETWORKS / "night_uint8.tflite", tmp_path / "plain")
    ranged = import_model(NETWORKS / "night_uint8.tflite", tmp_path / "ranged", (0, 1))
    assert plain.input_range == ranged.input_range
    assert plain.backbone_id("") != ranged.backbone_id("")
    assert import_model(tmp_path / "ranged", tmp_path / "copy").backbone_id("") == ranged.backbone_id("")


@pytest.mark.parametrize("name", [*shipped(), "mean_uint8", "mean_int8"])
def test_a_range_that_is_what_the_bytes_are_already_changes_nothing(tmp_path: Path, name: str) -> None:
    source = name if name in shipped() else NETWORKS / f"{name}.tflite"
    bundle = import_model(source, tmp_path / "bundle", (0, 255))
    assert not bundle.requantized
    before = import_model(source, tmp_path / "before")
    pixels = np.random.default_rng(0).integers(0, 256, (bundle.height, bundle.width, 3), np.uint8)
    assert (Backbone(bundle).bottleneck(pixels) == Backbone(before).bottleneck(pixels)).all()


def test_a_bundle_that_was_made_before_goes_on_with_the_bytes_as_they_are(tmp_path: Path) -> None:
    """Its manifest has a range, which had no effect; its examples were made so."""
    import_model(NETWORKS / "night_uint8.tflite", tmp_path / "night", (0, 1))
    change(tmp_path / "night", input={"height": 8, "width": 8, "range": [-1, 1]})
    network = Backbone(load_bundle(tmp_path / "night"))
    real = network.scale * (network.bottleneck(image(0, 128, 255)).astype(float) - network.zero_point)
    np.testing.assert_allclose(real, [0, 0.301, 0.6], atol=0.004)


def test_the_networks_in_shared_have_inputs_of_which_nothing_needs_to_be_said(shared: Path, tmp_path: Path) -> None:
    for name in ("mobilenet_v1_0.25_128_quant", "mobilenet_v1_1.0_224_quant_embedding_extractor", "vww_96_int8"):
        bundle = import_model(shared / "models" / f"{name}.tflite", tmp_path / name)
        assert not bundle.requantized


@given(
    st.sampled_from([UINT8, INT8]),
    st.floats(1e-6, 1e3),
    st.integers(-128, 255),
    st.floats(-1e3, 1e3),
    st.floats(1e-3, 1e3),
)
def test_each_byte_becomes_the_value_that_is_nearest_to_what_it_stands_for(
    dtype: "np.dtype[np.uint8]", scale: float, zero_point: int, low: float, width: float
) -> None:
    taken = Input(dtype, scale, int(np.clip(zero_point, np.iinfo(dtype).min, np.iinfo(dtype).max)))
    stored = Pixels(taken, (low, low + width), requantized=True)(BYTES).astype(float)
    meant = np.clip(low + BYTES * (width / 255), *taken.span)
    assert np.abs(scale * (stored - taken.zero_point) - meant).max() <= scale * 0.51
    assert (np.diff(stored) >= 0).all()


def test_an_input_that_says_nothing_of_its_scale_takes_bytes_for_what_they_are() -> None:
    taken = input_of({"dtype": np.uint8, "quantization": (0.0, 0)})
    assert (Pixels(taken, (0, 255), requantized=True)(BYTES) == BYTES).all()
    assert not taken.changes((0, 255))


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point"),
    [(UINT8, 1.0, 0), (UINT8, 1 / 255, 0), (UINT8, 2 / 255, 128), (INT8, 1.0, -128), (INT8, 1 / 255, -128)],
)
def test_what_spans_a_usual_range_gets_no_word(dtype: "np.dtype[np.uint8]", scale: float, zero_point: int) -> None:
    assert Input(dtype, scale, zero_point).word(None) is None
