"""The frozen network. The only place that imports a TFLite runtime.

Run as a program it describes a model on stdout (see `describe`): in a process of its
own, because a damaged model can end the process that loads it.
"""

import json
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.board.allocator import forget_pages
from agent.board.confinement import end_with_parent, limit_memory
from agent.board.remarks import remarks_logged
from agent.errors import BundleError
from agent.learning.solving.moments import LARGEST, LEAST
from agent.records import is_finite
from agent.vision.bundle import DEFAULT_RANGE, Bundle
from agent.vision.pixels import Pixels, input_of

try:  # setup.cfg says which machine gets which, and why
    from ai_edge_litert.interpreter import Interpreter

    FAMILY = "ai_edge_litert"
except ImportError:
    from tflite_runtime.interpreter import Interpreter

    FAMILY = "tflite_runtime"

_INPUT_TYPES = (np.uint8, np.int8, np.float32)
_OUTPUT_TYPES = (np.uint8, np.int8, np.float32)


class Backbone:
    """A loaded network: image in, bottleneck out. Used by one thread at a time: who shares it waits for its `turn`.

    Attributes: `backbone_id` as in Bundle.backbone_id; `size` D; `dtype` of the
    bottleneck; `scale` and `zero_point`: a real value is `scale * (stored - zero_point)`,
    and they are 1 and 0 for a float output.
    Raises BundleError where the model cannot be a backbone.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        self.bundle = bundle
        self.turn = threading.Lock()
        self.backbone_id = bundle.backbone_id(FAMILY)
        self._interpreter = _load(bundle.model, threads, (bundle.height, bundle.width))
        forget_pages(bundle.model)
        source, target = _signature(bundle.model, self._interpreter)
        if tuple(source["shape"][1:3]) != (bundle.height, bundle.width):
            raise BundleError(f"{bundle.model} takes {source['shape']}, its manifest says otherwise")
        self._input, self._output = source["index"], target["index"]
        self._pixels = Pixels(input_of(source), bundle.input_range, requantized=bundle.requantized)
        self.dtype: np.dtype[Any] = np.dtype(target["dtype"])
        self.size = int(np.prod(target["shape"]))
        if self.size != bundle.size:
            raise BundleError(f"{bundle.model} gives {self.size} values, its manifest says {bundle.size}")
        scale, zero_point = target["quantization"]
        self.scale, self.zero_point = (float(scale), int(zero_point)) if scale else (1.0, 0)

    def bottleneck(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """The bottleneck [D], in `dtype`, of an image [height, width, 3]. That of a float network may hold values that
        are not finite: see `is_finite`."""
        self._interpreter.set_tensor(self._input, self._pixels(image)[np.newaxis])
        self._interpreter.invoke()
        bottleneck: NDArray[Any] = self._interpreter.get_tensor(self._output)
        bottleneck.shape = (self.size,)  # and not a view of it, which would keep both for each frame that is remembered
        return bottleneck


def describe(
    model: Path,
    input_range: tuple[float, float] = DEFAULT_RANGE,
    *,
    requantized: bool = False,
    size: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """What a model takes and gives: height, width, size, and the dtypes, after one run on each of some plain pictures.

    `size` is the height and width of the pictures that one gets which takes any. Beside it are whether a quantized
    input, if it is `requantized`, takes other values than the bytes, and in `words` what somebody should know who
    wants to use it. Raises BundleError where it cannot be a backbone.
    """
    interpreter = _load(model, 1, size)
    source, target = _signature(model, interpreter)
    taken = input_of(source)
    height, width = int(source["shape"][1]), int(source["shape"][2])
    pixels = Pixels(taken, input_range, requantized=requantized)
    answers = {}
    for name, image in _plain_pictures(height, width).items():
        interpreter.set_tensor(source["index"], pixels(image)[np.newaxis])
        _invoke(model, interpreter)
        answers[name] = np.array(interpreter.get_tensor(target["index"])).reshape(-1)
    words = [taken.word(input_range if requantized else None), *_judged(model, answers)]
    return {
        "height": height,
        "width": width,
        "size": int(np.prod(target["shape"])),
        "input_dtype": taken.dtype.name,
        "output_dtype": np.dtype(target["dtype"]).name,
        "requantized": requantized and taken.changes(input_range),
        "words": [word for word in words if word],
        "family": FAMILY,
    }


def _plain_pictures(height: int, width: int) -> dict[str, NDArray[np.uint8]]:
    levels = {"black": 0, "gray": 127, "white": 255}
    pictures = {name: np.full((height, width, 3), level, np.uint8) for name, level in levels.items()}
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return {**pictures, "noise": noise}


def _judged(model: Path, answers: dict[str, NDArray[Any]]) -> list[str]:
    """What is odd about the bottlenecks of the plain pictures. Raises BundleError where nothing can be learnt from
    such."""
    odd = [name for name, answer in answers.items() if not is_finite(answer)]
    if "gray" in odd or "noise" in odd:
        raise BundleError(f"{model}: its output is not finite for a picture that is {' or '.join(odd)}")
    finite = [answer for name, answer in answers.items() if name not in odd]
    largest = max(float(np.abs(answer.astype(np.float64)).max(initial=0.0)) for answer in finite)
    if largest and not LEAST <= largest <= LARGEST:
        raise BundleError(
            f"{model}: its output reaches {largest:.1e}; nothing can be learnt from values beyond {LEAST:g} to "
            f"{LARGEST:g}: scale it"
        )
    said = []
    if odd:
        said.append(
            f"its output is not finite for a {' or '.join(odd)} frame: such will be unknown, and is never learnt"
        )
    if all(np.array_equal(answer, finite[0]) for answer in finite):
        said.append(
            "it gives the same values for a black, a gray and a white picture and for noise, so it may tell none "
            "apart: is --input-range what it was trained with?"
        )
    return said


def _load(model: Path, threads: int, size: tuple[int, int] | None) -> Any:
    """With all tensors in place; a model that takes pictures of any size gets them of this height and width."""
    try:
        with remarks_logged():
            interpreter = Interpreter(model_path=str(model), num_threads=threads)
            if resized := _resized(model, interpreter, size):
                index, shape = resized
                interpreter.resize_tensor_input(index, shape)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        if isinstance(error, BundleError):
            raise
        at = f" with pictures of {size[1]} x {size[0]} pixels" if size else ""
        raise BundleError(
            f"{model}: this TFLite runtime ({FAMILY}) cannot use the model{at}: {_first_line(error)}"
        ) from error
    if resized or any(-1 in each.get("shape_signature", ()) for each in interpreter.get_output_details()):
        _invoke(model, interpreter)  # what it gives has its shape when it was given
    return interpreter


def _resized(model: Path, interpreter: Any, size: tuple[int, int] | None) -> tuple[int, list[int]] | None:
    """The input whose size the file leaves open, and the shape that it gets; None where it is fixed."""
    inputs = interpreter.get_input_details()
    signature = [int(n) for n in inputs[0].get("shape_signature", inputs[0]["shape"])] if len(inputs) == 1 else []
    if len(signature) != 4 or -1 not in signature[1:3]:
        return None
    if size is None:
        raise BundleError(
            f"{model}: takes pictures of any size ([1, height, width, 3]): say which, such as --size 224, best the one "
            "that it was trained with"
        )
    height, width = (given if fixed == -1 else fixed for fixed, given in zip(signature[1:3], size, strict=True))
    return int(inputs[0]["index"]), [1, height, width, 3 if signature[3] == -1 else signature[3]]


def _invoke(model: Path, interpreter: Any) -> None:
    try:
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        raise BundleError(f"{model}: this TFLite runtime ({FAMILY}) cannot run it: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    """The runtime's own words come in many lines; the first says what is wrong."""
    return str(error).strip().splitlines()[0] if str(error).strip() else "no reason was given"


def _signature(model: Path, interpreter: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1:
        raise BundleError(
            f"{model}: a backbone has one input and one output, this model has {len(inputs)} and {len(outputs)}; "
            "cut it at its pooled layer"
        )
    (source,), (target,) = inputs, outputs
    shape = [int(n) for n in source["shape"]]
    if len(shape) != 4 or shape[0] != 1 or shape[3] != 3 or source["dtype"] not in _INPUT_TYPES:
        raise BundleError(f"{model}: a backbone takes one RGB image [1, height, width, 3], this model takes {shape}")
    shape = [int(n) for n in target["shape"]]
    if not shape or int(np.prod(shape)) != shape[-1] or target["dtype"] not in _OUTPUT_TYPES:
        raise BundleError(f"{model}: a backbone gives one vector, this model gives {shape}: cut it at its pooled layer")
    return source, target


if __name__ == "__main__":
    end_with_parent()
    path = Path(sys.argv[1])
    try:
        limit_memory(path.stat().st_size)
        asked = json.loads(sys.argv[2])
        size = tuple(asked["size"]) if asked["size"] else None
        described = describe(path, tuple(asked["input_range"]), requantized=asked["requantized"], size=size)
        json.dump(described, sys.stdout)
    except BundleError as error:
        sys.exit(str(error))
    except MemoryError:
        sys.exit(f"{path}: a model of its size does not take so much memory")
    except OSError as error:
        sys.exit(f"{path} cannot be read: {error.strerror or error}")
