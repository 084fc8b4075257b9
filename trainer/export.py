"""From a trained checkpoint to a bundle: cut at the bottleneck, quantized to int8, verified.

The bottleneck is made of two pooled blocks (see TAPS). Each of its columns is standardised inside the
network: a depthwise convolution as large as the map takes the mean, and its weights and bias divide by
the column's deviation and subtract its mean over the calibration pictures. So one output scale for all
columns, which is all that int8 allows, serves the quiet ones as well as the loud ones.
"""

import json
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from agent.errors import BundleError, ConfigError
from agent.files import write_atomically
from agent.reporting.timing import Timings
from agent.vision.backbone import FAMILY, Backbone
from agent.vision.bundle import FORMAT, load_bundle, sha256_of
from trainer.quiet import quiet
from trainer.sampling import sample_pictures

TAPS = ("stage3_1", "stage4_1")  # blocks whose pooled outputs make the bottleneck
CALIBRATION = 512  # pictures
HELD_OUT = 256  # pictures on which int8 is compared with float
LEAST_COSINE = 0.9


@dataclass(frozen=True)
class Column:
    """Mean and deviation of every channel of one pooled block, [C] each."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]


def load_checkpoint(path: Path) -> Any:
    """The trained network. Raises ConfigError where it cannot be read or lacks a tap."""
    if keras.config.backend() != "tensorflow":
        raise ConfigError("export needs Keras on TensorFlow: set KERAS_BACKEND=tensorflow")
    try:
        trained = keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path} is no checkpoint that can be loaded: {error}") from error
    names = {layer.name for layer in trained.layers}
    if not names.issuperset(TAPS):
        raise ConfigError(f"{path} was not made by pretrain: it has no layers {' and '.join(TAPS)}")
    return trained


def tap_maps(trained: Any) -> Any:
    """Image [B, S, S, 3] of 0..255 → the maps of the taps."""
    return keras.Model(trained.input, [trained.get_layer(name).output for name in TAPS], name="backbone")


def measured_columns(maps: Any, images: NDArray[np.uint8]) -> list[Column]:
    """Statistics of the pooled maps over images [N, S, S, 3]."""
    pooled = [np.asarray(part).mean(axis=(1, 2)) for part in maps.predict(images, batch_size=32, verbose=0)]
    columns = []
    for part in pooled:
        deviation = part.std(axis=0)
        # A dead channel must not be blown up to the size of the others.
        columns.append(Column(part.mean(axis=0), np.maximum(deviation, 0.05 * np.median(deviation) + 1e-6)))
    return columns


def bottleneck_network(maps: Any, size: int, columns: list[Column]) -> Any:
    """One image [1, size, size, 3] of 0..255 → the standardised bottleneck [1, D]."""
    image = keras.Input((size, size, 3), batch_size=1, name="image")
    parts = []
    for name, block, column in zip(TAPS, maps(image), columns, strict=True):
        height, width, channels = block.shape[1:]
        pool = keras.layers.DepthwiseConv2D((height, width), name=f"{name}_pooled")
        pooled = pool(block)
        kernel = np.broadcast_to(1 / (height * width * column.deviation[:, None]), (height, width, channels, 1))
        pool.set_weights([kernel, -column.mean / column.deviation])
        parts.append(keras.layers.Reshape((channels,))(pooled))
    return keras.Model(image, keras.layers.Concatenate(name="bottleneck")(parts), name="bottleneck_network")


def converted(network: Any, images: NDArray[np.uint8]) -> bytes:
    """The network as .tflite: full int8, uint8 image in, int8 bottleneck out."""
    import tensorflow

    converter = tensorflow.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None].astype(np.float32)] for image in images)
    converter.target_spec.supported_ops = [tensorflow.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tensorflow.uint8
    converter.inference_output_type = tensorflow.int8
    return bytes(converter.convert())


def op_versions(content: bytes) -> dict[str, int]:
    """Name and version of every operator that a .tflite file uses."""
    from tensorflow.lite.python import schema_py_generated as schema

    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    model = schema.Model.GetRootAs(content, 0)
    codes = [model.OperatorCodes(index) for index in range(model.OperatorCodesLength())]
    return {names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]: code.Version() for code in codes}


def compared(folder: Path, network: Any, images: NDArray[np.uint8]) -> dict[str, float]:
    """The bundle against the float network on held-out images: cosines, and the milliseconds of one invoke."""
    bundle = load_bundle(folder)
    backbone = Backbone(bundle)
    cosines, invoke_ms = [], []
    for image, exact in zip(images, network.predict(images, batch_size=1, verbose=0), strict=True):
        start = time.monotonic()
        stored = backbone.bottleneck(image)
        invoke_ms.append(1000 * (time.monotonic() - start))
        rough = (stored.astype(np.float32) - backbone.zero_point) * backbone.scale
        cosines.append(float(exact @ rough / (np.linalg.norm(exact) * np.linalg.norm(rough) + 1e-12)))
    return {
        "cosine_mean": round(float(np.mean(cosines)), 4),
        "cosine_min": round(min(cosines), 4),
        "invoke_ms": round(float(np.median(invoke_ms)), 3),
    }


def write_bundle(out: Path, content: bytes, size: int, bottleneck: int, about: dict[str, Any]) -> Path:
    """Writes model and manifest; a manifest never stands beside a model that it does not describe for long."""
    out.mkdir(parents=True, exist_ok=True)
    model = out / "model.tflite"
    write_atomically(model, content)
    needed = {
        "format": FORMAT,
        "name": out.name,
        "model": model.name,
        "sha256": sha256_of(model),
        "input": {"height": size, "width": size, "range": [0, 255]},
        "bottleneck": {"size": bottleneck},
    }
    manifest = needed | about | needed  # in this order, and `about` cannot replace what is needed
    write_atomically(out / "manifest.json", (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())
    return model


def export(
    checkpoint: Path, calibrate: Path, out: Path, size: int, seed: int, about: dict[str, Any], timings: Timings
) -> dict[str, Any]:
    """Makes the bundle `out` and compares it with the float network; returns figures and the time of each phase.

    `calibrate` is a folder of npz shards or of pictures; `about` is added to the manifest.
    Raises ConfigError (checkpoint), DatasetError (pictures) or BundleError (the bundle does not work).
    """
    with timings.phase("export"), quiet():
        maps = tap_maps(load_checkpoint(checkpoint))
    pictures, held_out = sample_pictures(calibrate, size, CALIBRATION, HELD_OUT, seed)
    with timings.phase("calibrate", len(pictures)):
        network = bottleneck_network(maps, size, measured_columns(maps, pictures))
    with timings.phase("convert"), quiet():
        content = converted(network, pictures)
    bottleneck = int(network.output_shape[-1])
    recorded = {
        "created": time.strftime("%Y-%m-%d", time.gmtime()),
        "op_versions": op_versions(content),
    }
    with tempfile.TemporaryDirectory() as scratch, timings.phase("evaluate", len(held_out)):
        trial = Path(scratch) / out.name
        write_bundle(trial, content, size, bottleneck, {})
        figures = compared(trial, network, held_out)
    if figures["cosine_mean"] < LEAST_COSINE:
        raise BundleError(
            f"{out} is not written: int8 differs from float, the mean cosine over {len(held_out)} held-out pictures is "
            f"{figures['cosine_mean']} (at least {LEAST_COSINE} is asked); calibrate on more pictures"
        )
    model = write_bundle(out, content, size, bottleneck, about | recorded | {"figures": figures})
    return {
        "bundle": str(out),
        "model_bytes": model.stat().st_size,
        "bottleneck": bottleneck,
        "family": FAMILY,
        **figures,
        "phases": [report.as_dict() for report in timings.since_start()],
    }
