"""Where a network is cut: at its penultimate layer, the vector from which its last layer reads the classes.

From the output back, the first that is met of: a global pooling layer; a map [H, W, C], which then gets a global
pooling; the input of the last dense layer. So a network trained with pooling, dense layer, classes is cut at the
pooling: what it pools serves new classes better than what it learnt for the old ones.
"""

from typing import Any

import keras

from agent.errors import BundleError

_POOLING = ("GlobalAveragePooling2D", "GlobalMaxPooling2D")
_SHOWN = 8  # names of layers in a message


def cut(model: Any, name: str, layer: str | None = None) -> tuple[Any, str]:
    """Image → bottleneck [B, D], and where that is. `name` is the model's, for messages; `layer` where to cut.

    Raises BundleError for what takes more than one image, or where no vector is found.
    """
    image = _image(model, name)
    if layer is not None:
        return _pooled(image, _output_of(model, name, layer), f"the layer {layer}")
    ends = [_penultimate(output) for output in model.outputs]
    if len({id(tensor) for tensor, _ in ends}) != 1:
        raise BundleError(
            f"{name} has {len(ends)} outputs that do not come from one vector: name the layer to cut at by --layer; "
            f"the last are {_last_layers(model)}"
        )
    tensor, where = ends[0]
    inner = _origin(tensor)
    if isinstance(inner, keras.Model):  # a nested network: cut within it
        below, where = cut(inner, inner.name)
        return keras.Model(image, below(_inputs(tensor)[0]), name="backbone"), where
    return _pooled(image, tensor, where)


def _image(model: Any, name: str) -> Any:
    inputs = getattr(model, "inputs", None)
    if not inputs or not getattr(model, "outputs", None):
        raise BundleError(
            f"{name} has no graph of layers, as subclassed and unbuilt models have none: build it as "
            "keras.Model(inputs, outputs), or write it as a SavedModel by model.export(folder) and export that"
        )
    if len(inputs) != 1:
        names = ", ".join(str(tensor.name) for tensor in inputs)
        raise BundleError(
            f"{name} has {len(inputs)} inputs ({names}), and a backbone takes one image: save the branch of the image "
            "alone, keras.Model(image, features), and export that"
        )
    shape = inputs[0].shape
    if len(shape) != 4 or shape[-1] != 3:
        raise BundleError(f"{name} takes {shape}, and a backbone takes RGB images [batch, height, width, 3]")
    return inputs[0]


def _penultimate(tensor: Any) -> tuple[Any, str]:
    """The tensor to cut at, and what it is."""
    last, products = None, 0  # what the last dense layer reads, and how many such layers were met
    at = tensor
    while True:
        layer, inputs = _origin(at), _inputs(at)
        if type(layer).__name__ in _POOLING:
            return at, f"the global pooling {layer.name}"
        # A map that has shrunk to 1 x 1 is one where the network ends in it, and behind a pooling a vector.
        is_map = len(at.shape) == 4 and (at is tensor or at.shape[1:3] != (1, 1))
        if is_map and products < 2:
            return at, f"the map of {layer.name}, pooled"
        if isinstance(layer, keras.Model):
            return at, f"the vector of {layer.name}"
        if is_map or len(inputs) != 1:
            at = at if last is None else last
            return at, f"the vector of {_origin(at).name}"
        if type(layer).__name__ in ("Dense", "Conv2D"):  # on a map of 1 x 1 a convolution is a dense layer
            last, products = (inputs[0] if last is None else last), products + 1
        at = inputs[0]


def _pooled(image: Any, tensor: Any, where: str) -> tuple[Any, str]:
    if isinstance(_origin(tensor), keras.layers.InputLayer):
        raise BundleError("no layer that makes features was found between image and classes: name one by --layer")
    if len(tensor.shape) == 4:
        flat = tensor.shape[1:3] == (1, 1)
        layer = keras.layers.Flatten if flat else keras.layers.GlobalAveragePooling2D
        tensor = layer(name="bottleneck")(tensor)
    if len(tensor.shape) != 2 or tensor.shape[-1] is None:
        raise BundleError(f"{where} gives {tensor.shape}, which is no vector: name another by --layer")
    return keras.Model(image, tensor, name="backbone"), where


def _output_of(model: Any, name: str, layer: str) -> Any:
    try:
        return model.get_layer(layer).output
    except ValueError as error:
        raise BundleError(f"{name} has no layer {layer!r}; its last are {_last_layers(model)}") from error


def _last_layers(model: Any) -> str:
    return ", ".join(layer.name for layer in model.layers[-_SHOWN:])


def _origin(tensor: Any) -> Any:
    """The layer that makes a symbolic tensor; Keras has no public name for that."""
    return tensor._keras_history.operation


def _inputs(tensor: Any) -> list[Any]:
    history = tensor._keras_history
    inputs: list[Any] = history.operation._inbound_nodes[history.node_index].input_tensors
    return inputs
