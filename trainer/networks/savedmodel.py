"""A SavedModel: a graph of TensorFlow without layers, cut at what its last matrix product reads."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from agent.errors import BundleError, ConfigError
from trainer.quiet import quiet

SIGNATURE = "serving_default"
_PRODUCTS = ("MatMul", "BatchMatMulV2", "Einsum")
_THROUGH = ("Identity", "Reshape", "Squeeze")


class Graph(keras.layers.Layer):  # type: ignore[misc]
    """A frozen graph, image → vector, as a layer."""

    def __init__(self, function: Any, size: int, **options: Any) -> None:
        super().__init__(trainable=False, **options)
        self.function, self.size = function, size

    def call(self, image: Any) -> Any:
        (vector,) = self.function(image)
        return tf.reshape(vector, (-1, self.size))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (shape[0], self.size)


def open_saved_model(folder: Path, layer: str | None) -> tuple[Any, str]:
    """Keras model: image [B, H, W, 3] → bottleneck [B, D], and where it was cut; `layer` names an operation.

    Raises ConfigError where the folder cannot be read, BundleError where its graph cannot be a backbone.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    try:
        with quiet():
            loaded = tf.saved_model.load(str(folder))
            signature = loaded.signatures[SIGNATURE]
            frozen = convert_variables_to_constants_v2(signature)
    except KeyError as error:
        raise ConfigError(f"{folder} has no signature {SIGNATURE}: write it by model.export(folder)") from error
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"{folder} is no SavedModel that can be loaded: {error}") from error
    if len(frozen.inputs) != 1:
        raise BundleError(f"{folder} has {len(frozen.inputs)} inputs, and a backbone takes one image")
    (source,) = frozen.inputs
    shape = source.shape.as_list() if source.shape.rank is not None else []
    if len(shape) != 4 or shape[3] != 3 or source.dtype != tf.float32:
        raise BundleError(f"{folder} takes {source.shape} of {source.dtype.name}, not RGB images in float32")
    tensor, where = _vector(frozen, folder, layer)
    image = keras.Input(shape[1:], name="image")
    return keras.Model(image, Graph(frozen.prune(source, [tensor]), _size(tensor))(image), name="backbone"), where


def _vector(frozen: Any, folder: Path, layer: str | None) -> tuple[Any, str]:
    operations = frozen.graph.get_operations()
    if layer is not None:
        named = [operation for operation in operations if operation.name == layer]
        if not named:
            last = ", ".join(operation.name for operation in operations[-8:])
            raise BundleError(f"{folder} has no operation {layer!r}; its last are {last}")
        return named[0].outputs[0], f"the operation {layer}"
    products = [operation for operation in operations if operation.type in _PRODUCTS]
    tensor = products[-1].inputs[0] if products else frozen.outputs[0]
    while tensor.op.type in _THROUGH and tensor.shape.rank != 2:
        tensor = tensor.op.inputs[0]
    if _size(tensor) == 0:
        raise BundleError(f"{folder}: {tensor.name} gives {tensor.shape}, no vector: name an operation by --layer")
    return tensor, f"what {products[-1].name if products else 'the output'} reads"


def _size(tensor: Any) -> int:
    """D of [B, D] or [B, 1, 1, D]; 0 where it is neither."""
    shape = tensor.shape.as_list() if tensor.shape.rank is not None else []
    return int(shape[-1] or 0) if shape and all(side == 1 for side in shape[1:-1]) and len(shape) >= 2 else 0
