"""What a network wants to see instead of the bytes 0..255, put inside it as a layer.

Every preprocessing in use is affine in the three channels: divided, shifted, and for some their order turned round.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

LAYER = "preprocessing"  # name of the layer

# Layers with which a network begins that has its preprocessing inside.
_INSIDE = ("Rescaling", "Normalization", "TrueDivide", "Divide", "Multiply", "Subtract", "Add")
_LOOKED_AT = 4  # layers, from the input


@dataclass(frozen=True)
class Affine:
    """A pixel [3], red, green, blue in 0..255, becomes pixel @ matrix + bias."""

    matrix: NDArray[np.float32]  # [3, 3]
    bias: NDArray[np.float32]  # [3]


def _scaled(scale: Any, bias: Any) -> Affine:
    return Affine(np.asarray(np.eye(3) * scale, dtype=np.float32), np.full(3, bias, dtype=np.float32))


_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet, in 0..1

NAMED = {
    "none": _scaled(1.0, 0.0),  # 0..255
    "unit": _scaled(1 / 255, 0.0),  # 0..1
    "signed": _scaled(1 / 127.5, -1.0),  # -1..1
    "torch": _scaled(1 / (255 * _DEVIATION), -_MEAN / _DEVIATION),
    "caffe": Affine(
        np.eye(3, dtype=np.float32)[::-1], np.array([-103.939, -116.779, -123.68], dtype=np.float32)
    ),  # BGR, mean taken off
}


def measured(preprocess: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Affine:
    """What a function does to pixels, found by asking it for black and for the three pure colours."""
    colours = np.concatenate([np.zeros((1, 3)), 255 * np.eye(3)]).astype(np.float32).reshape(1, 4, 1, 3)
    answers = np.asarray(preprocess(colours.copy()), dtype=np.float64).reshape(4, 3)
    matrix = (answers[1:] - answers[0]) / 255
    return Affine(matrix.astype(np.float32), answers[0].astype(np.float32))


def layers(affine: Affine) -> list[Any]:
    """None or one: a Rescaling, or where channels change places a 1x1 convolution."""
    diagonal = np.diag(affine.matrix)
    if np.array_equal(affine.matrix, np.eye(3)) and not affine.bias.any():
        return []
    if np.array_equal(np.diag(diagonal), affine.matrix):
        same = np.ptp(diagonal) == 0 and np.ptp(affine.bias) == 0
        scale, offset = (diagonal[0], affine.bias[0]) if same else (diagonal, affine.bias)
        return [keras.layers.Rescaling(scale.tolist(), offset.tolist(), name=LAYER)]
    convolution = keras.layers.Conv2D(3, 1, name=LAYER, trainable=False)
    convolution.build((None, None, None, 3))
    convolution.set_weights([affine.matrix[None, None], affine.bias])
    return [convolution]


def is_inside(model: Any) -> bool:
    """Whether the first layers of a Keras model show that it takes the bytes 0..255."""
    first = _in_order(model)[:_LOOKED_AT]
    return any(type(layer).__name__ in _INSIDE or layer.name == LAYER for layer in first)


def _in_order(model: Any) -> list[Any]:
    """All layers but inputs, those of nested models in their place."""
    found: list[Any] = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += _in_order(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            found.append(layer)
    return found
