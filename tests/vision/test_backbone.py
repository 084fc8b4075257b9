from pathlib import Path

import numpy as np
import pytest

from agent.errors import BundleError
from agent.vision.backbone import FAMILY, Backbone, describe
from agent.vision.bundle import DEFAULT, load_bundle
from agent.vision.image import decode
from agent.vision.importing import import_model
from tests.board.test_allocator import resident_kb

NETWORKS = Path(__file__).parent / "networks"


def backbone(
    name: str,
    tmp_path: Path,
    input_range: tuple[float, float] | None = None,
    size: tuple[int, int] | None = None,
) -> Backbone:
    return Backbone(import_model(NETWORKS / f"{name}.tflite", tmp_path / name, input_range, size))


def image(red: int, green: int, blue: int) -> np.ndarray:
    return np.full((8, 8, 3), (red, green, blue), np.uint8)


@pytest.mark.parametrize(("name", "dtype"), [("mean_uint8", "uint8"), ("mean_int8", "int8")])
def test_a_quantized_network_takes_the_bytes_as_they_are(tmp_path: Path, name: str, dtype: str) -> None:
    network = backbone(name, tmp_path)
    stored = network.bottleneck(image(0, 100, 255))
    assert (stored.dtype.name, stored.shape, network.size) == (dtype, (3,), 3)
    real = network.scale * (stored.astype(float) - network.zero_point)
    np.testing.assert_allclose(real, [0, 100, 255], atol=1.5)


@pytest.mark.parametrize(
    ("input_range", "expected"),
    [(None, [0, 0.2, 1]), ((0, 1), [0, 0.2, 1]), ((-1, 1), [-1, -0.6, 1]), ((0, 255), [0, 51, 255])],
)
def test_a_float_network_gets_the_range_that_it_wants(
    tmp_path: Path, input_range: tuple[float, float] | None, expected: list[float]
) -> None:
    network = backbone("mean_float32", tmp_path, input_range)
    stored = network.bottleneck(image(0, 51, 255))
    assert (stored.dtype.name, network.scale, network.zero_point) == ("float32", 1.0, 0)
    np.testing.assert_allclose(stored, expected, atol=1e-4)


def test_an_answer_does_not_change_with_the_next_one(tmp_path: Path) -> None:
    network = backbone("mean_uint8", tmp_path)
    first = network.bottleneck(image(10, 20, 30))
    before = first.copy()
    network.bottleneck(image(200, 210, 220))
    assert (first == before).all()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("two_inputs", "one input and one output, this model has 2 and 1"),
        ("two_outputs", "one input and one output, this model has 1 and 2"),
        ("no_vector", "one vector"),
        ("gray_input", "one RGB image"),
        ("not_finite", "not finite for a picture that is black or gray or white or noise"),
        ("endless", "reaches 1.0e\\+30; nothing can be learnt"),
        ("any_size", "pictures of any size .* such as --size 224"),
    ],
)
def test_what_can_be_no_backbone_is_refused(tmp_path: Path, name: str, complaint: str) -> None:
    with pytest.raises(BundleError, match=rf"{name}.tflite: .*{complaint}"):
        import_model(NETWORKS / f"{name}.tflite", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("name", "op"),
    [
        ("model_invoking_error", "fake-op-double"),
        ("BAD_custom_op_posenet_decoder", "PosenetDecoderOp"),
        ("BAD_edgetpu_only_mobilenet_v1_0.25_128", "edgetpu-custom-op"),
    ],
)
def test_an_op_that_the_runtime_does_not_know_is_named(shared: Path, tmp_path: Path, name: str, op: str) -> None:
    with pytest.raises(BundleError, match=f"{name}.*{FAMILY}.*{op}"):
        import_model(shared / "models" / f"{name}.tflite", tmp_path / "bundle")


@pytest.mark.parametrize("size", [0, 1, 100, 700])
def test_a_torn_network_is_refused_and_ends_nothing(tmp_path: Path, size: int) -> None:
    """In some places the runtime crashes on it: that is the child's end, not ours."""
    torn = tmp_path / "torn.tflite"
    torn.write_bytes((NETWORKS / "mean_uint8.tflite").read_bytes()[:size])
    with pytest.raises(BundleError, match="torn.tflite"):
        import_model(torn, tmp_path / "bundle")


def test_a_real_network_torn_anywhere_is_refused_or_runs(shared: Path, tmp_path: Path) -> None:
    whole = (shared / "models" / "cifar10_resnet8_int8.tflite").read_bytes()
    refused = 0
    for number in range(6):
        torn = tmp_path / f"torn{number}.tflite"
        torn.write_bytes(whole[: len(whole) * number // 6])
        try:
            import_model(torn, tmp_path / f"bundle{number}")
        except BundleError:
            refused += 1
    assert refused >= 5


@pytest.mark.parametrize(
    ("name", "size", "dtype"),
    [
        ("mobilenet_v1_1.0_224_quant_embedding_extractor", 1024, "uint8"),
        ("mobilenet_v2_035_96_embedder_with_metadata", 1280, "float32"),
    ],
)
def test_real_embedders_tell_pictures_apart(shared: Path, tmp_path: Path, name: str, size: int, dtype: str) -> None:
    network = Backbone(import_model(shared / "models" / f"{name}.tflite", tmp_path / "bundle"))
    bundle = network.bundle

    def embedded(picture: str) -> np.ndarray:
        pixels = decode((shared / "models" / "pictures" / picture).read_bytes(), bundle.width, bundle.height)
        return network.scale * (network.bottleneck(pixels).astype(float) - network.zero_point)

    cat, owl, parrot = (embedded(picture) for picture in ("cat.bmp", "owl.jpg", "parrot.jpg"))
    assert (network.size, network.dtype.name) == (size, dtype)
    assert np.linalg.norm(cat - cat) == 0 < np.linalg.norm(owl - parrot)
    assert all(np.linalg.norm(v) > 1 for v in (cat, owl, parrot))


def test_a_network_is_described(tmp_path: Path) -> None:
    assert describe(NETWORKS / "mean_int8.tflite") == {
        "height": 8,
        "width": 8,
        "size": 3,
        "input_dtype": "int8",
        "output_dtype": "int8",
        "requantized": False,
        "words": [],
        "family": FAMILY,
    }


# Networks of any size


@pytest.mark.parametrize("size", [(8, 8), (5, 9), (96, 64)])
def test_a_network_of_any_size_gets_pictures_of_the_size_that_was_named(tmp_path: Path, size: tuple[int, int]) -> None:
    network = backbone("any_size", tmp_path, size=size)
    assert (network.bundle.height, network.bundle.width, network.size) == (*size, 3)
    pixels = np.full((*size, 3), (0, 51, 255), np.uint8)
    for loaded in (network, Backbone(load_bundle(tmp_path / "any_size"))):  # and at every later start
        np.testing.assert_allclose(loaded.bottleneck(pixels), [0, 0.2, 1], atol=1e-3)


def test_a_network_of_any_batch_gets_one_picture(tmp_path: Path) -> None:
    np.testing.assert_allclose(backbone("any_batch", tmp_path).bottleneck(image(0, 51, 255)), [0, 0.2, 1], atol=1e-4)


def test_a_size_at_which_a_network_gives_no_vector_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"gives one vector, this model gives \[1, 2, 2, 3\]"):
        backbone("any_size_pooled_by_4", tmp_path, size=(8, 8))
    assert backbone("any_size_pooled_by_4", tmp_path, size=(4, 4)).size == 3


@pytest.mark.parametrize("size", [(4, 4), (9, 9)])
def test_a_size_at_which_the_runtime_fails_is_refused_in_one_line(tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(
        BundleError, match=f"cannot use the model with pictures of {size[1]} x {size[0]} pixels"
    ) as said:
        backbone("any_size_but_8_fails", tmp_path, size=size)
    assert "\n" not in str(said.value)


def test_a_network_of_one_size_gets_no_other(tmp_path: Path) -> None:
    assert backbone("mean_uint8", tmp_path, size=(8, 8)).size == 3
    with pytest.raises(BundleError, match="pictures of 8 x 8 pixels and of no other size"):
        backbone("mean_uint8", tmp_path, size=(9, 8))


# Frames for which a network has no numbers


@pytest.mark.parametrize("name", ["logarithm", "normalised"])
def test_a_network_that_has_no_numbers_for_black_alone_is_taken_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    network = backbone(name, tmp_path)
    assert "not finite for a black frame" in caplog.text
    assert not np.isfinite(network.bottleneck(image(0, 0, 0))).all()
    assert np.isfinite(network.bottleneck(image(1, 1, 1))).all()


def test_a_network_that_says_the_same_of_everything_gets_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backbone("dead", tmp_path)
    assert "the same values for a black, a gray and a white picture" in caplog.text


def test_a_network_without_anything_odd_gets_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("mean_uint8", "mean_int8", "mean_float32", "huge", "tiny", "far", "mixed"):
        backbone(name, tmp_path)
    assert caplog.text == ""


def test_a_network_does_not_stay_in_memory_twice() -> None:
    bundle = load_bundle(DEFAULT)
    backbone = Backbone(bundle)
    assert backbone.size == bundle.size
    assert resident_kb(bundle.model) < bundle.model.stat().st_size / 1024 / 4
