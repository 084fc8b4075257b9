"""Our own network: a small residual one, and its bottleneck of two pooled blocks, each column standardised inside it.

A depthwise convolution as large as the map takes the mean, and its weights and bias divide by the column's deviation
and subtract its mean over the calibration pictures. So one output scale for all columns, which is all that int8
allows, serves the quiet ones as well as the loud ones.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

WIDTHS = (32, 64, 128, 256)
BLOCKS = (1, 2, 2, 1)
STEM_WIDTH = 16
TAPS = ("stage3_1", "stage4_1")  # blocks whose pooled outputs make the bottleneck
SIZE = 96  # pixels, where nothing else is asked for
WHERE = f"the blocks {' and '.join(TAPS)}, pooled and standardised"


def _convolution(x: Any, width: int, name: str, stride: int = 1, kernel: int = 3) -> Any:
    x = layers.Conv2D(
        width, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )(x)
    return layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)


def _block(x: Any, width: int, stride: int, name: str) -> Any:
    """Two 3x3 convolutions beside a shortcut: [B, H, W, C] → [B, H/stride, W/stride, width]."""
    y = layers.ReLU(name=f"{name}_relu")(_convolution(x, width, f"{name}_first", stride))
    y = _convolution(y, width, f"{name}_second")
    if stride != 1 or x.shape[-1] != width:
        x = _convolution(x, width, f"{name}_shortcut", stride, kernel=1)
    return layers.ReLU(name=name)(layers.Add(name=f"{name}_sum")([x, y]))


def tiny_resnet() -> Any:
    """A small residual network (He et al. 2016) for any square input of raw bytes 0..255, [B, H, W, 3].

    Its output is the last block's, [B, H/32, W/32, 256]; blocks are named stage1_1, stage2_1, stage2_2, … Plain
    convolutions and ReLU: on a CPU that trains faster than separable ones, and int8 keeps it.
    """
    image = keras.Input((None, None, 3), name="image")
    x = layers.Rescaling(1 / 127.5, -1.0, name="rescaling")(image)
    x = layers.ReLU(name="stem")(_convolution(x, STEM_WIDTH, "stem", stride=2))
    for stage, (width, blocks) in enumerate(zip(WIDTHS, BLOCKS, strict=True), 1):
        for block in range(1, blocks + 1):
            x = _block(x, width, 2 if block == 1 else 1, f"stage{stage}_{block}")
    return keras.Model(image, x, name="tiny_resnet")


def with_heads(backbone: Any, heads: dict[str, int]) -> Any:
    """The backbone with one linear layer a head (name → outputs) on a shared hidden layer of 512 values.

    The heads are float32 in every precision: a softmax in 16 bits loses digits.
    """
    pooled = layers.GlobalAveragePooling2D(name="pooled")(backbone.output)
    hidden = layers.Dense(512, activation="relu", name="hidden")(pooled)
    outputs = {name: layers.Dense(size, dtype="float32", name=name)(hidden) for name, size in heads.items()}
    return keras.Model(backbone.input, outputs, name=f"{backbone.name}_with_heads")


@dataclass(frozen=True)
class Channels:
    """Mean and deviation of every channel of one pooled block, [C] each."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]


def has_taps(trained: Any) -> bool:
    return {layer.name for layer in trained.layers}.issuperset(TAPS)


def maps(trained: Any) -> Any:
    """Image [B, S, S, 3] of 0..255 → the maps of the taps."""
    return keras.Model(trained.input, [trained.get_layer(name).output for name in TAPS], name="backbone")


def measured_columns(tapped: Any, images: NDArray[np.uint8]) -> list[Channels]:
    """Statistics of the pooled maps over images [N, S, S, 3]."""
    pooled = [np.asarray(part).mean(axis=(1, 2)) for part in tapped.predict(images, batch_size=32, verbose=0)]
    columns = []
    for part in pooled:
        deviation = part.std(axis=0)
        # A dead channel must not be blown up to the size of the others.
        columns.append(Channels(part.mean(axis=0), np.maximum(deviation, 0.05 * np.median(deviation) + 1e-6)))
    return columns


def bottleneck_network(tapped: Any, size: int, columns: list[Channels]) -> Any:
    """Image [B, size, size, 3] of 0..255 → the standardised bottleneck [B, D]."""
    image = keras.Input((size, size, 3), name="image")
    parts = []
    for name, block, column in zip(TAPS, tapped(image), columns, strict=True):
        height, width, channels = block.shape[1:]
        pool = layers.DepthwiseConv2D((height, width), name=f"{name}_pooled")
        pooled = pool(block)
        kernel = np.broadcast_to(1 / (height * width * column.deviation[:, None]), (height, width, channels, 1))
        pool.set_weights([kernel, -column.mean / column.deviation])
        parts.append(layers.Reshape((channels,))(pooled))
    return keras.Model(image, layers.Concatenate(name="bottleneck")(parts), name="bottleneck_network")
