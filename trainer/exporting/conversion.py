"""From a float network to a .tflite file, and what the file is made of."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import keras
import numpy as np
from numpy.typing import NDArray

from agent.board.interruption import undisturbed
from trainer.quiet import quiet

Quantization = Literal["int8", "float16", "dynamic", "float32"]
QUANTIZATIONS: tuple[Quantization, ...] = get_args(Quantization)

# The newest version of each operator that tflite-runtime 2.14.0 loads: asked of its x86-64 wheel, one file for each.
# An operator that is not here was not asked for.
NEWEST_IN_2_14 = {
    "ADD": 5, "AVERAGE_POOL_2D": 3, "BATCH_MATMUL": 4, "CAST": 5, "CONCATENATION": 4, "CONV_2D": 7,
    "DEPTHWISE_CONV_2D": 7, "DEQUANTIZE": 5, "DIV": 2, "EXP": 2, "EXPAND_DIMS": 1, "FULLY_CONNECTED": 10, "GATHER": 6,
    "GELU": 2, "HARD_SWISH": 1, "L2_NORMALIZATION": 2, "LEAKY_RELU": 2, "LOGISTIC": 3, "MAXIMUM": 4, "MAX_POOL_2D": 3,
    "MEAN": 3, "MINIMUM": 4, "MUL": 7, "NEG": 1, "PACK": 4, "PAD": 4, "PADV2": 4, "POW": 1, "QUANTIZE": 3,
    "REDUCE_MAX": 3, "RELU": 3, "RELU6": 3, "RELU_0_TO_1": 1, "RESHAPE": 1, "RESIZE_BILINEAR": 4, "RSQRT": 2,
    "SHAPE": 1, "SLICE": 6, "SOFTMAX": 3, "SPLIT": 4, "SPLIT_V": 2, "SQRT": 1, "SQUARED_DIFFERENCE": 2, "SQUEEZE": 2,
    "STRIDED_SLICE": 8, "SUB": 5, "SUM": 2, "TANH": 3, "TILE": 3, "TRANSPOSE": 6,
}  # fmt: skip


@dataclass(frozen=True)
class Operators:
    """What a .tflite file uses."""

    versions: dict[str, int]  # name → newest version that it uses

    def warnings(self, quantization: Quantization) -> list[str]:
        """What is known to go wrong with these, in sentences for people."""
        said = [
            f"{name} has version {version}, and tflite-runtime 2.14.0, which 32-bit ARM has, loads no newer one than "
            f"{NEWEST_IN_2_14[name]}: convert with an older TensorFlow"
            for name, version in self.versions.items()
            if version > NEWEST_IN_2_14.get(name, version)
        ]
        if "HARD_SWISH" in self.versions and quantization == "int8":
            said.append(
                "HARD_SWISH has no fast int8 kernel: MobileNetV3 took 4 times as long in int8 as in float32; "
                "MobileNetV2 has none of it, and --quantize float32 or float16 avoids it"
            )
        flex = [name for name in self.versions if name == "CUSTOM" or name.startswith("Flex")]
        if flex:
            said.append("it has operators that no plain TFLite runtime knows: the board cannot load it")
        return said


def converted(network: Any, images: NDArray[np.uint8], quantization: Quantization) -> bytes:
    """A .tflite file of image [1, H, W, 3] → bottleneck [1, D].

    int8 takes uint8 images, gives int8 and is calibrated on `images` [N, H, W, 3]; the others take float images of
    0..255 and give float32.
    """
    import tensorflow as tf

    image = keras.Input(network.input_shape[1:], batch_size=1, name="image")
    single = keras.Model(image, network(image), name="backbone")
    with quiet():
        converter = tf.lite.TFLiteConverter.from_keras_model(single)
        if quantization != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        # Per channel, dense layers become a version of FULLY_CONNECTED that tflite-runtime 2.14.0 refuses.
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
        if quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantization == "int8":
            converter.representative_dataset = lambda: ([image[None].astype(np.float32)] for image in images)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.uint8
            converter.inference_output_type = tf.int8
        with undisturbed():  # it calls back from C++, where Ctrl-C would end the process by a segmentation fault
            content = converter.convert()
        return _nameless(content)


def _nameless(content: bytes) -> bytes:
    """The same without the names of tensors, which nobody reads: 1 % of a file, and other names in each process."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    flatbuffer_utils.strip_strings(model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def operators(content: bytes) -> Operators:
    from tensorflow.lite.python import schema_py_generated as schema

    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    model = schema.Model.GetRootAs(content, 0)
    versions: dict[str, int] = {}
    for index in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(index)
        name = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        versions[name] = max(versions.get(name, 0), code.Version())
    return Operators(versions)
