"""Makes the networks of this folder: the mean color of an 8 x 8 image, and some that can be no backbone.

python tests/vision/networks/make.py [NAME ...]     # needs TensorFlow; a few kB each, without weights
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf

HERE = Path(__file__).parent


def gray_levels() -> Iterator[list[np.ndarray]]:
    for level in np.linspace(0, 255, 52):
        yield [np.full((1, 8, 8, 3), level, np.float32)]


def night() -> Iterator[list[np.ndarray]]:
    """Of a network that wants 0..1: pictures of which none is brighter than 0.6."""
    for level in np.linspace(0, 0.6, 52):
        yield [np.full((1, 8, 8, 3), level, np.float32)]


def converted(
    model: keras.Model,
    quantized: tf.DType | None = None,
    calibration: Callable[[], Iterator[list[np.ndarray]]] = gray_levels,
) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if quantized is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = calibration
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = quantized
    network: bytes = converter.convert()
    return network


def main() -> None:
    image = keras.Input((8, 8, 3), batch_size=1)
    other = keras.Input((8, 8, 3), batch_size=1)
    gray = keras.Input((8, 8, 1), batch_size=1)
    any_size = keras.Input((None, None, 3), batch_size=1)
    pooled = keras.layers.GlobalAveragePooling2D()
    halves = keras.layers.AveragePooling2D(4, strides=4)  # of 8 x 8, four; of 4 x 4, one; of less, none
    mean = pooled(image)
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
        "any_size": converted(keras.Model(any_size, pooled(any_size))),
        "any_batch": converted(keras.Model(any_batch := keras.Input((8, 8, 3)), pooled(any_batch))),
        "any_size_pooled_by_4": converted(keras.Model(any_size, halves(any_size))),
        "any_size_but_8_fails": converted(keras.Model(any_size, keras.ops.reshape(any_size, (1, 192)))),
        "night_uint8": converted(mean_color, tf.uint8, night),
        "night_int8": converted(mean_color, tf.int8, night),
        "logarithm": converted(keras.Model(image, keras.ops.log(mean))),  # of black: minus infinity
        "normalised": converted(keras.Model(image, mean / keras.ops.sum(mean, axis=1, keepdims=True))),  # of black: NaN
        "dead": converted(keras.Model(image, keras.ops.relu(mean * -1.0))),
        "huge": converted(keras.Model(image, mean * 1e6)),
        "tiny": converted(keras.Model(image, mean * 1e-9)),
        "far": converted(keras.Model(image, mean * 8.0 + 1e6)),
        "mixed": converted(keras.Model(image, mean * np.array([1e-9, 1.0, 1e6], np.float32))),
        "endless": converted(keras.Model(image, mean * 1e30)),
    }
    wanted = sys.argv[1:] or list(networks)
    for name in wanted:
        (HERE / f"{name}.tflite").write_bytes(networks[name])


if __name__ == "__main__":
    main()
