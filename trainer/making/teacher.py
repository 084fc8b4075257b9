"""A teacher: an image classifier in a .tflite file, read at its penultimate layer.

The last layer of such a file is a matrix product of the bottleneck, so it is enough to run
the network as far as the bottleneck and to keep that: the logits follow from the last
layer's weights, in floating point.
"""

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.board.files import read_bounded
from agent.board.remarks import remarks_logged
from agent.errors import BundleError
from agent.vision import backbone
from agent.vision.bundle import MAX_MODEL_BYTES
from trainer.making.corpus import Picture
from trainer.making.views import crop


@dataclass(frozen=True)
class Teacher:
    content: bytes  # the .tflite file, its output moved to the bottleneck
    size: int  # side of the input, pixels
    scale: float
    zero_point: int
    weights: NDArray[np.float32]  # [D, K], the last layer
    bias: NDArray[np.float32]  # [K]
    digest: str  # sha256 of the file as given

    def bottlenecks(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Real values of stored bottlenecks, in any shape."""
        return (stored.astype(np.float32) - self.zero_point) * self.scale

    def logits(self, bottlenecks: NDArray[np.float32]) -> NDArray[np.float32]:
        """[B, D] → [B, K]."""
        return bottlenecks @ self.weights + self.bias


def _interpreter(content: bytes) -> Any:
    with remarks_logged():
        interpreter = backbone.Interpreter(model_content=content, num_threads=1)  # type: ignore[attr-defined]
        interpreter.allocate_tensors()
    return interpreter


def _dequantized(interpreter: Any, index: int, details: dict[int, Any]) -> NDArray[np.float32]:
    """A constant tensor in real values; the channel axis of weights is the first one."""
    stored = interpreter.get_tensor(index)
    parameters = details[index]["quantization_parameters"]
    if not len(parameters["scales"]):
        return np.asarray(stored, dtype=np.float32)
    shape = (-1,) + (1,) * (stored.ndim - 1)
    zero_points = parameters["zero_points"].reshape(shape)
    return np.asarray((stored.astype(np.int64) - zero_points) * parameters["scales"].reshape(shape), dtype=np.float32)


def _field(content: bytes, table: int, number: int) -> int:
    """Position of what a FlatBuffer table's offset field refers to."""
    vtable = table - int(struct.unpack_from("<i", content, table)[0])
    position = table + int(struct.unpack_from("<H", content, vtable + 4 + 2 * number)[0])
    return position + int(struct.unpack_from("<I", content, position)[0])


def with_output(content: bytes, tensor: int) -> bytes:
    """The same .tflite file with `tensor` as its only output.

    The first subgraph's list of outputs is overwritten in place: Model.subgraphs is field 2 and
    SubGraph.outputs is field 2 of the TFLite schema.
    """
    model = struct.unpack_from("<I", content)[0]
    subgraphs = _field(content, model, 2)
    subgraph = subgraphs + 4 + struct.unpack_from("<I", content, subgraphs + 4)[0]
    outputs = _field(content, subgraph, 2)
    if struct.unpack_from("<I", content, outputs)[0] != 1:
        raise BundleError("a teacher must have one output")
    changed = bytearray(content)
    struct.pack_into("<i", changed, outputs + 4, tensor)
    return bytes(changed)


def load_teacher(path: Path) -> Teacher:
    """Reads a quantized classifier (image in, class scores out). Raises BundleError if it is none."""
    try:
        content = read_bounded(path, MAX_MODEL_BYTES)
    except OSError as error:
        raise BundleError(f"the teacher {path} cannot be read: {error.strerror}") from error
    try:
        plain = _interpreter(content)
    except (ValueError, RuntimeError) as error:
        raise BundleError(f"the teacher {path} does not load: {error}") from error
    details = {tensor["index"]: tensor for tensor in plain.get_tensor_details()}
    image = plain.get_input_details()[0]
    products = [op for op in plain._get_ops_details() if op["op_name"] in ("CONV_2D", "FULLY_CONNECTED")]
    if image["dtype"] is not np.uint8 or len(image["shape"]) != 4 or not products:
        raise BundleError(f"the teacher {path} must take a uint8 image and end in a layer of class scores")
    bottleneck, weights, bias = (int(index) for index in products[-1]["inputs"][:3])
    last = _dequantized(plain, weights, details)
    size = int(np.prod(details[bottleneck]["shape"]))
    if last.size != last.shape[0] * size:
        raise BundleError(f"the teacher {path} has no pooled vector before its last layer")
    scale, zero_point = details[bottleneck]["quantization"]
    return Teacher(
        content=with_output(content, bottleneck),
        size=int(image["shape"][1]),
        scale=float(scale) or 1.0,
        zero_point=int(zero_point),
        weights=np.ascontiguousarray(last.reshape(last.shape[0], size).T),
        bias=_dequantized(plain, bias, details),
        digest=hashlib.sha256(content).hexdigest(),
    )


def bottlenecks_of(teacher: Teacher, pictures: list[Picture], boxes: NDArray[np.float32]) -> NDArray[Any]:
    """Stored bottlenecks of every view: [N, views, D], in the dtype of the teacher."""
    interpreter = _interpreter(teacher.content)
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    rows = []
    for picture, picture_boxes in zip(pictures, boxes, strict=True):
        for box in picture_boxes:
            interpreter.set_tensor(source, crop(picture, box, teacher.size)[None])
            interpreter.invoke()
            rows.append(interpreter.get_tensor(target).ravel())
    return np.stack(rows).reshape(len(pictures), boxes.shape[1], -1)
