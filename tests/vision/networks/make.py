"""Makes the networks of this folder: the mean color of an 8 x 8 image, and some that can be no backbone.

python tests/vision/networks/make.py     # needs TensorFlow; a few kB each, without weights
"""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf

HERE = Path(__file__).parent


def gray_levels() -> Iterator[list[np.ndarray]]:
    for level in np.linspace(0, 255, 52):
        yield [np.full((1, 8, 8, 3), level, np.float32)]


def converted(model: keras.Model, quantized: tf.DType | None = None) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if quantized is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = gray_levels
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = quantized
    network: bytes = converter.convert()
    return network


def main() -> None:
    image = keras.Input((8, 8, 3), batch_size=1)
    other = keras.Input((8, 8, 3), batch_size=1)
    gray = keras.Input((8, 8, 1), batch_size=1)
    pooled = keras.layers.GlobalAveragePooling2D()
    mean_color = keras.Model(image, pooled(image))
    networks = {
        "mean_float32": converted(mean_color),
        "mean_uint8": converted(mean_color, tf.uint8),
        "mean_int8": converted(mean_color, tf.int8),
        "two_inputs": converted(keras.Model([image, other], pooled(image + other))),
        "two_outputs": converted(keras.Model(image, [pooled(image), keras.layers.GlobalMaxPooling2D()(image)])),
        "no_vector": converted(keras.Model(image, keras.layers.AveragePooling2D(2)(image))),
        "gray_input": converted(keras.Model(gray, pooled(gray))),
        "not_finite": converted(keras.Model(image, keras.ops.log(pooled(image) * 0.0 - 1.0))),
    }
    for name, network in networks.items():
        (HERE / f"{name}.tflite").write_bytes(network)


if __name__ == "__main__":
    main()
