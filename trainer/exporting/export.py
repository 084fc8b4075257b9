"""From a network to a bundle: opened, cut at its bottleneck, quantized, verified, written with a report."""

import hashlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from agent.errors import BundleError, ConfigError
from agent.reporting.timing import Timings
from agent.vision.backbone import Backbone, describe
from agent.vision.bundle import FORMAT, MODEL, write_bundle
from trainer.exporting import report
from trainer.exporting.conversion import Operators, Quantization, converted, operators
from trainer.exporting.report import Exported
from trainer.exporting.sampling import Sample, sample_pictures
from trainer.exporting.transfer import Transfer, transfer
from trainer.exporting.verification import GOOD_DROP, verify
from trainer.networks.loading import Network, Wanted, open_network
from trainer.networks.standardised import bottleneck_network, measured
from trainer.quiet import quiet

CALIBRATION = 512  # pictures
HELD_OUT = 256  # pictures on which the bundle is compared with the float network
LEAST_COSINE = 0.9  # below, it is another network
SETTLED = 64  # pictures whose statistics random weights get
FEW = 100  # pictures for calibration, below which it is said


@dataclass(frozen=True)
class Order:
    """What to make of a network, and where."""

    wanted: Wanted
    out: Path  # folder of the bundle
    calibrate: Path  # pictures: npz shards, or files at any depth
    quantization: Quantization = "int8"
    transfer: Sequence[Path] = ()  # labelled sets to judge it by
    about: dict[str, Any] = field(default_factory=dict)  # added to the manifest


def export(order: Order, timings: Timings) -> Exported:
    """Makes the bundle `order.out`, and report.html in it.

    Raises ConfigError (what was asked for), DatasetError (pictures), BundleError (the network cannot be a backbone, or
    the bundle does not work: then nothing is written) or StateError (it cannot be written).
    """
    if keras.config.backend() != "tensorflow":
        raise ConfigError("export needs Keras on TensorFlow: set KERAS_BACKEND=tensorflow")
    with timings.phase("export"), quiet():
        opened = open_network(order.wanted)
    sides = (opened.height, opened.width)
    sample = sample_pictures(order.calibrate, sides, CALIBRATION, HELD_OUT, order.wanted.seed)
    with timings.phase("calibrate", len(sample.calibration)), quiet():
        network = _with_bottleneck(opened, sample.calibration)
    with timings.phase("convert"):
        content = _converted(network, sample.calibration, order)
    manifest = _manifest(order, opened, network, content)
    exported = _judged(order, opened, network, content, manifest, sample, timings)
    page = report.html(exported, order.out.name, timings.since_start())
    write_bundle(order.out, content, exported.manifest, {"report.html": page.encode()})
    return exported


def _with_bottleneck(opened: Network, images: NDArray[np.uint8]) -> Any:
    if opened.is_random:
        _settle(opened.model, images)
    if not opened.tapped:
        return opened.model
    return bottleneck_network(opened.model, (opened.height, opened.width), measured(opened.model, images))


def _settle(model: Any, images: NDArray[np.uint8]) -> None:
    """Gives the batch normalizations of random weights the statistics of pictures: without, most values vanish."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images[:SETTLED].astype(np.float32), training=True)


def _converted(network: Any, images: NDArray[np.uint8], order: Order) -> bytes:
    try:
        return converted(network, images, order.quantization)
    except Exception as error:  # the converter raises all sorts
        words = " ".join(str(error).split())
        raise BundleError(
            f"{order.wanted.source} cannot be converted with --quantize {order.quantization}: {words[:400]}"
        ) from error


def _manifest(order: Order, opened: Network, network: Any, content: bytes) -> dict[str, Any]:
    needed = {
        "format": FORMAT,
        "name": order.out.name,
        "model": MODEL,
        "sha256": hashlib.sha256(content).hexdigest(),
        "input": {"height": opened.height, "width": opened.width, "range": [0, 255]},
        "bottleneck": {"size": int(network.output_shape[-1])},
        "quantization": order.quantization,
        "cut": opened.cut,
        "made_from": opened.source,
        "created": time.strftime("%Y-%m-%d", time.gmtime()),
        "op_versions": operators(content).versions,
    }
    return needed | order.about | needed  # in this order, and `about` cannot replace what is needed


def _judged(
    order: Order,
    opened: Network,
    network: Any,
    content: bytes,
    manifest: dict[str, Any],
    sample: Sample,
    timings: Timings,
) -> Exported:
    """Verifies what is to be written. Raises BundleError where it is not what the float network is."""
    with tempfile.TemporaryDirectory() as scratch:
        trial = Path(scratch) / order.out.name
        with quiet():
            written = write_bundle(trial, content, manifest)
            described = describe(written.model, written.input_range, requantized=True)
            if described["requantized"]:  # it was calibrated on pictures that do not span the bytes
                manifest = manifest | {"input": manifest["input"] | {"requantized": True}}
                written = write_bundle(trial, content, manifest)
            backbone = Backbone(written)
        with timings.phase("evaluate", len(sample.held_out)):
            verified = verify(trial, network, sample.held_out)
    here = verified.parities[0]
    if here.cosines.mean() < LEAST_COSINE and not opened.is_random:
        raise BundleError(
            f"{order.out} is not written: {order.quantization} differs from float, the mean cosine over "
            f"{len(sample.held_out)} held-out pictures is {here.cosines.mean():.4f} (at least {LEAST_COSINE} is "
            "asked); calibrate on more pictures, or take --quantize float16"
        )
    transfers = []
    for source in order.transfer:
        with timings.phase("transfer"), quiet():
            transfers.append(transfer(source, network, backbone, order.wanted.seed))
    figures = {key: value for key, value in here.as_dict().items() if not key.startswith("canary")}
    stored = {"dtype": backbone.dtype.name, "scale": backbone.scale, "zero_point": backbone.zero_point}
    manifest = manifest | {
        "bottleneck": manifest["bottleneck"] | stored,
        "figures": figures | {"transfer": [one.as_dict() for one in transfers]},
        "canaries": verified.canaries(),
    }
    warnings = Operators(manifest["op_versions"]).warnings(order.quantization) + verified.warnings
    warnings += described["words"]
    warnings += _off(order, opened.is_random, sample, transfers)
    return Exported(manifest, verified, transfers, warnings, len(content), sample)


def _off(order: Order, is_random: bool, sample: Sample, transfers: list[Transfer]) -> list[str]:
    said = [
        f"transfer top-1 on {one.name} changes by {one.change:+.3f}, from {one.float_top1:.3f} to {one.bundle_top1:.3f}"
        for one in transfers
        if one.change < -GOOD_DROP
    ]
    if order.quantization == "int8" and len(sample.calibration) < FEW:
        said.append(
            f"calibrated on {len(sample.calibration)} pictures; {FEW} or more of what the board will see is better"
        )
    if is_random:
        said.append("the weights are random: this bundle is to try the way with, its bottlenecks say little")
    return said
