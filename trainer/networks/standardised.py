"""A bottleneck of several maps of one network, each pooled, and its columns made alike inside the network.

    map → pooled and standardised → the strongest directions damped → bottleneck

A depthwise convolution as large as the map takes the mean, and its weights and bias divide by the column's deviation
and subtract its mean over the calibration pictures. So one output scale for all columns, which is all that int8
allows, serves the quiet ones as well as the loud ones; and the convolution sums in 32 bits with a scale for each
channel, where a mean of its own would round to 8 bits once more. What is further than REACH deviations from the mean
is cut off, inside the same operator: a few values far out would make the steps of all the others coarse.

Many columns then say the same: how bright, how busy a picture is. Along these few directions pictures of any kind vary
most, and what tells new classes apart is drowned where there are few examples. Two small dense layers take most of
that variation off: a whitening of the shrunken covariance (Kessy, Lewin and Strimmer 2018, ZCA), as far as its first
DIRECTIONS components.
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
DIRECTIONS = 12  # whose damping is worth its room: 32 for 16 gave 0.003 more at 5 pictures a class, for 23 kB
SHRINKAGE = 0.85  # of the covariance towards columns that have nothing to do with each other
_COLUMNS_EACH = 16  # for one direction, at least


@dataclass(frozen=True)
class Statistics:
    """Of the pooled maps over the calibration pictures: D columns, all maps side by side."""

    mean: NDArray[np.float32]  # [D]
    deviation: NDArray[np.float32]  # [D]
    directions: NDArray[np.float32]  # [D, k], of length 1, of the standardised columns; the strongest first
    spread: NDArray[np.float32]  # [k], the deviation along each
    damping: NDArray[np.float32]  # [k], by what each is multiplied


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


def pooled_maps(tapped: Any) -> Any:
    """Image → one vector [B, D]: the maps pooled, side by side, as they are, where no one scale has to fit them all."""
    pooled = [
        layers.GlobalAveragePooling2D(name=f"mean_{number}")(block) for number, block in enumerate(tapped.outputs)
    ]
    return keras.Model(tapped.inputs, layers.Concatenate(name="bottleneck")(pooled), name="pooled_network")


def _is_map(output: Any) -> bool:
    return len(getattr(output, "shape", ())) == 4


def measured(tapped: Any, images: NDArray[np.uint8]) -> Statistics:
    """Statistics over images [N, H, W, 3]."""
    answers = tapped.predict(images, batch_size=32, verbose=0)
    parts = [np.asarray(part, np.float64).mean(axis=(1, 2)) for part in _several(answers)]
    # A dead channel must not be blown up to the size of the others.
    least = [np.full(part.shape[1], 0.05 * np.median(part.std(axis=0)) + 1e-6) for part in parts]
    pooled = np.concatenate(parts, axis=1)
    mean, deviation = pooled.mean(axis=0), np.maximum(pooled.std(axis=0), np.concatenate(least))
    standardised = (pooled - mean) / deviation
    variances, vectors = np.linalg.eigh(standardised.T @ standardised / len(pooled))
    count = min(DIRECTIONS, len(mean) // _COLUMNS_EACH)
    strongest = np.argsort(variances)[::-1][: count + 1]
    shrunken = np.sqrt((1 - SHRINKAGE) * variances[strongest] + SHRINKAGE)  # the mean variance is 1
    strongest = strongest[:count]
    return Statistics(
        mean.astype(np.float32),
        deviation.astype(np.float32),
        vectors[:, strongest].astype(np.float32),
        np.sqrt(variances[strongest]).astype(np.float32),
        (shrunken[count:] / shrunken[:count]).astype(np.float32),
    )


def _several(answers: Any) -> Sequence[Any]:
    return answers if isinstance(answers, (list, tuple)) else [answers]


def bottleneck_network(tapped: Any, sides: tuple[int, int], found: Statistics) -> Any:
    """Image [B, H, W, 3] of 0..255 → the bottleneck [B, D], of -1 (REACH deviations below the mean) to 1.

    `sides` is height and width.
    """
    image = keras.Input((*sides, 3), name="image")
    parts, at = [], 0
    for number, block in enumerate(_several(tapped(image)), 1):
        columns = slice(at, at := at + block.shape[-1])
        parts.append(_pooled(block, found.mean[columns], REACH * found.deviation[columns], f"pooled_{number}"))
    values = layers.Concatenate(name="standardised")(parts) if len(parts) > 1 else parts[0]
    if len(found.spread):
        values = _damped(values, found)
    return keras.Model(image, layers.Reshape((at,), name="bottleneck")(values), name="bottleneck_network")


def _pooled(block: Any, mean: NDArray[np.float32], reach: NDArray[np.float32], name: str) -> Any:
    """[B, h, w, C] → [B, 1, 1, C]"""
    height, width, channels = block.shape[1:]
    pool = layers.DepthwiseConv2D((height, width), name=name)
    pooled = keras.ops.clip(pool(block), -1.0, 1.0)
    kernel = np.broadcast_to(1 / (height * width * reach[:, None]), (height, width, channels, 1))
    pool.set_weights([kernel, -mean / reach])
    return pooled


def _damped(values: Any, found: Statistics) -> Any:
    """[B, 1, 1, D], of which most of the strongest directions is taken off."""
    onto = layers.Conv2D(len(found.spread), 1, use_bias=False, name="directions")
    back = layers.Conv2D(values.shape[-1], 1, use_bias=False, name="damping")
    taken = back(onto(values))
    onto.set_weights([(found.directions / found.spread)[None, None]])  # alike, so that one scale serves them too
    back.set_weights([((found.damping - 1)[:, None] * found.spread[:, None] * found.directions.T)[None, None]])
    return keras.ops.clip(layers.Add(name="damped")([values, taken]), -1.0, 1.0)
