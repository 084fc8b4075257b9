"""The frozen network. The only place that imports a TFLite runtime.

Run as a program it describes a model on stdout (see `describe`): in a process of its
own, because a damaged model can end the process that loads it.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.board.allocator import forget_pages
from agent.board.confinement import end_with_parent, limit_memory
from agent.board.remarks import remarks_logged
from agent.errors import BundleError
from agent.vision.bundle import Bundle

try:  # setup.cfg says which machine gets which, and why
    from ai_edge_litert.interpreter import Interpreter

    FAMILY = "ai_edge_litert"
except ImportError:
    from tflite_runtime.interpreter import Interpreter

    FAMILY = "tflite_runtime"

_INPUT_TYPES = (np.uint8, np.int8, np.float32)
_OUTPUT_TYPES = (np.uint8, np.int8, np.float32)


class Backbone:
    """A loaded network: image in, bottleneck out. Used by one thread at a time.

    Attributes: `backbone_id` as in Bundle.backbone_id; `size` D; `dtype` of the
    bottleneck; `scale` and `zero_point`: a real value is `scale * (stored - zero_point)`,
    and they are 1 and 0 for a float output.
    Raises BundleError where the model cannot be a backbone.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        self.bundle = bundle
        self.backbone_id = bundle.backbone_id(FAMILY)
        self._interpreter = _load(bundle.model, threads)
        forget_pages(bundle.model)
        source, target = _signature(bundle.model, self._interpreter)
        if tuple(source["shape"][1:3]) != (bundle.height, bundle.width):
            raise BundleError(f"{bundle.model} takes {source['shape']}, its manifest says otherwise")
        self._input, self._input_type = source["index"], source["dtype"]
        self._output = target["index"]
        self.dtype: np.dtype[Any] = np.dtype(target["dtype"])
        self.size = int(np.prod(target["shape"]))
        if self.size != bundle.size:
            raise BundleError(f"{bundle.model} gives {self.size} values, its manifest says {bundle.size}")
        scale, zero_point = target["quantization"]
        self.scale, self.zero_point = (float(scale), int(zero_point)) if scale else (1.0, 0)
        low, high = bundle.input_range
        self._gain, self._offset = np.float32((high - low) / 255), np.float32(low)

    def bottleneck(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """The bottleneck [D], in `dtype`, of an image [height, width, 3]."""
        self._interpreter.set_tensor(self._input, self._quantized(image)[np.newaxis])
        self._interpreter.invoke()
        bottleneck: NDArray[Any] = self._interpreter.get_tensor(self._output)
        return bottleneck.reshape(-1)

    def _quantized(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        if self._input_type == np.uint8:
            return image
        if self._input_type == np.int8:
            signed: NDArray[np.int8] = np.bitwise_xor(image, np.uint8(0x80)).view(np.int8)  # pixel - 128
            return signed
        real: NDArray[np.float32] = np.multiply(image, self._gain)
        real += self._offset
        return real


def describe(model: Path) -> dict[str, Any]:
    """What a model takes and gives: height, width, size, and the dtypes, after one run on a gray image.

    Raises BundleError where it cannot be a backbone.
    """
    interpreter = _load(model, threads=1)
    source, target = _signature(model, interpreter)
    gray = np.full(source["shape"], 127 if source["dtype"] == np.uint8 else 0, dtype=source["dtype"])
    interpreter.set_tensor(source["index"], gray)
    interpreter.invoke()
    if not np.isfinite(interpreter.get_tensor(target["index"])).all():
        raise BundleError(f"{model}: its output is not finite on a gray image")
    return {
        "height": int(source["shape"][1]),
        "width": int(source["shape"][2]),
        "size": int(np.prod(target["shape"])),
        "input_dtype": np.dtype(source["dtype"]).name,
        "output_dtype": np.dtype(target["dtype"]).name,
        "family": FAMILY,
    }


def _load(model: Path, threads: int) -> Any:
    try:
        with remarks_logged():
            interpreter = Interpreter(model_path=str(model), num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        # The runtime's own words come in many lines; the first says what is wrong.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason was given"
        raise BundleError(f"{model}: this TFLite runtime ({FAMILY}) cannot use the model: {reason}") from error
    return interpreter


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
        json.dump(describe(path), sys.stdout)
    except BundleError as error:
        sys.exit(str(error))
    except MemoryError:
        sys.exit(f"{path}: a model of its size does not take so much memory")
    except OSError as error:
        sys.exit(f"{path} cannot be read: {error.strerror or error}")
