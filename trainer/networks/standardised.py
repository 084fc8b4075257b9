"""A bottleneck of several maps of one network, each pooled, and each column standardised inside it.

A depthwise convolution as large as the map takes the mean, and its weights and bias divide by the column's deviation
and subtract its mean over the calibration pictures. So one output scale for all columns, which is all that int8
allows, serves the quiet ones as well as the loud ones; and the convolution sums in 32 bits with a scale for each
channel, where a mean of its own would round to 8 bits once more. What is further than REACH deviations from the mean
is cut off, inside the same operator: a few values far out would make the steps of all the others coarse.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from agent.errors import BundleError

REACH = 5.0  # deviations


@dataclass(frozen=True)
class Channels:
    """Mean and deviation of every channel of one pooled map, [C] each."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]


def maps(network: Any, taps: Sequence[str]) -> Any:
    """Image [B, H, W, 3] of 0..255 → the maps of the layers with these names, a list of [B, h, w, C].

    Raises BundleError for a name that no layer has, or whose layer gives no map.
    """
    there = {layer.name: layer.output for layer in network.layers if _is_map(layer.output)}
    for name in taps:
        if name not in there:
            raise BundleError(
                f"{network.name} has no layer {name!r} that gives a map; did you mean "
                f"{', '.join(difflib.get_close_matches(name, there, 5, 0.3)) or list(there)[-1]}?"
            )
    return keras.Model(network.input, [there[name] for name in taps], name="backbone")


def _is_map(output: Any) -> bool:
    return len(getattr(output, "shape", ())) == 4


def measured_columns(tapped: Any, images: NDArray[np.uint8]) -> list[Channels]:
    """Statistics of the pooled maps over images [N, S, S, 3]."""
    pooled = [np.asarray(part).mean(axis=(1, 2)) for part in tapped.predict(images, batch_size=32, verbose=0)]
    columns = []
    for part in pooled:
        deviation = part.std(axis=0)
        # A dead channel must not be blown up to the size of the others.
        columns.append(Channels(part.mean(axis=0), np.maximum(deviation, 0.05 * np.median(deviation) + 1e-6)))
    return columns


def bottleneck_network(tapped: Any, sides: tuple[int, int], columns: Sequence[Channels]) -> Any:
    """Image [B, H, W, 3] of 0..255 → the standardised bottleneck [B, D], of -1 (REACH deviations below) to 1.

    `sides` is height and width.
    """
    image = keras.Input((*sides, 3), name="image")
    parts = []
    for number, (block, column) in enumerate(zip(tapped(image), columns, strict=True), 1):
        height, width, channels = block.shape[1:]
        pool = layers.DepthwiseConv2D((height, width), name=f"pooled_{number}")
        pooled = keras.ops.clip(pool(block), -1.0, 1.0)
        reach = REACH * column.deviation
        kernel = np.broadcast_to(1 / (height * width * reach[:, None]), (height, width, channels, 1))
        pool.set_weights([kernel, -column.mean / reach])
        parts.append(layers.Reshape((channels,))(pooled))
    bottleneck = layers.Concatenate(name="bottleneck")(parts) if len(parts) > 1 else parts[0]
    return keras.Model(image, bottleneck, name="bottleneck_network")
