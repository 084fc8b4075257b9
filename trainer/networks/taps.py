"""The bottleneck of our own network: two pooled blocks, each column standardised inside the network.

A depthwise convolution as large as the map takes the mean, and its weights and bias divide by the column's deviation
and subtract its mean over the calibration pictures. So one output scale for all columns, which is all that int8
allows, serves the quiet ones as well as the loud ones.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

TAPS = ("stage3_1", "stage4_1")  # blocks whose pooled outputs make the bottleneck
SIZE = 96  # pixels, where nothing else is asked for
WHERE = f"the blocks {' and '.join(TAPS)}, pooled and standardised"


@dataclass(frozen=True)
class Column:
    """Mean and deviation of every channel of one pooled block, [C] each."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]


def has_taps(trained: Any) -> bool:
    return {layer.name for layer in trained.layers}.issuperset(TAPS)


def maps(trained: Any) -> Any:
    """Image [B, S, S, 3] of 0..255 → the maps of the taps."""
    return keras.Model(trained.input, [trained.get_layer(name).output for name in TAPS], name="backbone")


def measured_columns(tapped: Any, images: NDArray[np.uint8]) -> list[Column]:
    """Statistics of the pooled maps over images [N, S, S, 3]."""
    pooled = [np.asarray(part).mean(axis=(1, 2)) for part in tapped.predict(images, batch_size=32, verbose=0)]
    columns = []
    for part in pooled:
        deviation = part.std(axis=0)
        # A dead channel must not be blown up to the size of the others.
        columns.append(Column(part.mean(axis=0), np.maximum(deviation, 0.05 * np.median(deviation) + 1e-6)))
    return columns


def bottleneck_network(tapped: Any, size: int, columns: list[Column]) -> Any:
    """Image [B, size, size, 3] of 0..255 → the standardised bottleneck [B, D]."""
    image = keras.Input((size, size, 3), name="image")
    parts = []
    for name, block, column in zip(TAPS, tapped(image), columns, strict=True):
        height, width, channels = block.shape[1:]
        pool = keras.layers.DepthwiseConv2D((height, width), name=f"{name}_pooled")
        pooled = pool(block)
        kernel = np.broadcast_to(1 / (height * width * column.deviation[:, None]), (height, width, channels, 1))
        pool.set_weights([kernel, -column.mean / column.deviation])
        parts.append(keras.layers.Reshape((channels,))(pooled))
    return keras.Model(image, keras.layers.Concatenate(name="bottleneck")(parts), name="bottleneck_network")
