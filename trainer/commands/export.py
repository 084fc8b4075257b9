"""`lastlayer-trainer export`: a bundle from a network."""

import argparse
import json
import os
import shlex
from pathlib import Path
from typing import Any

from agent.board.files import read_bounded
from agent.errors import ConfigError
from agent.terminal import columns, command, say
from agent.vision.backbone import FAMILY
from agent.vision.bundle import MAX_MANIFEST_BYTES
from trainer.commands.arguments import add_network, extra, file, file_or_folder, filled, hush_tensorflow
from trainer.reporting import reporting, show_with_phases

USAGE = "lastlayer-trainer export NETWORK --calibrate PICTURES --out BUNDLE [options]"
DESCRIPTION = """\
Cuts a network at its penultimate layer, puts its preprocessing inside, quantizes it, compares it with the float
network in both TFLite runtimes, and writes a bundle: model.tflite, manifest.json, report.html.
"""
EPILOG = """\
example: lastlayer-trainer export MobileNetV2 --alpha 0.35 --size 96 --calibrate photos/ --out models/v2_035_96
exit codes: 0 done, 2 bad arguments, 3 bad pictures, 4 bad backbone, 5 cannot be written, 130 interrupted
"""
QUANTIZATIONS = ("int8", "float16", "dynamic", "float32")


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "export",
        options,
        execute,
        usage=USAGE,
        summary="make a quantized bundle of a network",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    add = parser.add_argument
    add("network", help="efficientnet-lite0, one of keras.applications, a file")
    pictures = "pictures of what the board will see, 100 or more"
    add("--calibrate", type=file_or_folder, metavar="PICTURES", required=True, help=pictures)
    add("--out", type=Path, required=True, help="folder of the bundle; its name becomes the bundle's")
    add("--quantize", choices=QUANTIZATIONS, default="int8", help="int8 takes uint8 pictures (the default)")
    add_network(parser)
    add("--cut", nargs="+", default=[], metavar="L", help="layers to tap; efficientnet-lite0: or standard, small")
    add("--alpha", type=float, metavar="A", help="width of a MobileNet (its own)")
    add("--transfer", type=Path, action="append", default=[], metavar="SET", help="labelled pictures; repeatable")
    add("--about", type=file, metavar="FILE", help="JSON for the manifest: description, licence, sources")
    add("--seed", type=int, default=0, help="of the choice of pictures, and of random weights (0)")


def execute(arguments: argparse.Namespace) -> int:
    about = read_about(arguments.about) | {"command": shlex.join(["lastlayer-trainer", *arguments.words])}
    # The converter is TensorFlow's; a checkpoint may come from any backend.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    hush_tensorflow()
    with extra(hushed=True):
        from trainer.exporting.export import Order, export
        from trainer.networks.loading import Wanted
    wanted = filled(
        Wanted, arguments, source=arguments.network, custom=tuple(arguments.custom), cut=tuple(arguments.cut)
    )
    order = Order(wanted, arguments.out, arguments.calibrate, arguments.quantize, arguments.transfer, about)
    with reporting(arguments, FAMILY) as timings:
        exported = export(order, timings)
    for warning in exported.warnings:
        say(f"NOTE: {warning}")
    payload = exported.as_dict(arguments.out)
    show_with_phases(arguments, payload, _text(payload), timings)
    return 0


def _text(payload: dict[str, Any]) -> str:
    rows = [["runtime", "cosine mean", "least", "invoke ms"]]
    for family, figures in payload["runtimes"].items():
        rows.append([family, *(str(figures[key]) for key in ("cosine_mean", "cosine_min", "invoke_ms"))])
    lines = [
        f"{payload['bundle']}: {payload['model_bytes'] / 1e6:.2f} MB, {payload['bottleneck']} values, cut at "
        f"{payload['cut']}",
        "",
        columns(rows),
        *(f"{family}: not checked: {why}" for family, why in payload["unchecked"].items()),
    ]
    if payload["transfer"]:
        sets = [["transfer", "float top-1", "bundle top-1", "change", "val pictures"]]
        for one in payload["transfer"]:
            top1 = [f"{one[key]:.3f}" for key in ("float_top1", "bundle_top1")]
            sets.append([one["name"], *top1, f"{one['change']:+.3f}", str(one["images"])])
        lines += ["", columns(sets)]
    return "\n".join([*lines, "", f"report: {payload['bundle']}/report.html"])


def read_about(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        about = json.loads(read_bounded(path, MAX_MANIFEST_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"--about {path} cannot be read as JSON: {error}") from error
    if not isinstance(about, dict):
        raise ConfigError(f"--about {path} must hold a JSON object, not {type(about).__name__}")
    return about
