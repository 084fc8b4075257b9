"""`lastlayer-trainer export`: a bundle from a trained network."""

import argparse
import json
import os
import shlex
from pathlib import Path
from typing import Any

from agent.commands.terminal import show
from agent.errors import ConfigError
from agent.vision.backbone import FAMILY
from trainer.commands.arguments import file, folder, missing, multiple_of_32
from trainer.quiet import quiet
from trainer.reporting import reporting

EPILOG = """\
example: lastlayer-trainer export net.keras --calibrate corpus/ --out models/tinyresnet_96
exit codes: 0 done, 2 bad arguments, 3 bad pictures, 4 bad backbone, 130 interrupted
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    command = commands.add_parser(
        "export",
        parents=[options],
        usage="lastlayer-trainer export NET.keras --calibrate PICTURES --out BUNDLE [options]",
        help="quantize a checkpoint into a bundle",
        description="Cuts a trained backbone at its bottleneck, quantizes it (int8, uint8 image in) and writes a\n"
        "bundle: model.tflite and manifest.json. Then compares it with the float network on held-out pictures.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("checkpoint", type=file, help="what pretrain wrote, *.keras")
    add("--calibrate", type=folder, required=True, help="folder of npz shards or of JPEG and PNG pictures, 100 or more")
    add("--out", type=Path, required=True, help="folder of the bundle; its name becomes the bundle's")
    add("--about", type=file, help="JSON object to add to the manifest: description, licence, sources")
    add("--size", type=multiple_of_32, default=96, help="side of the input in pixels (96)")
    add("--seed", type=int, default=0, help="of the choice of pictures (0)")
    command.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    about = read_about(arguments.about) | {"command": shlex.join(["lastlayer-trainer", *arguments.words])}
    # The converter is TensorFlow's; a checkpoint may come from any backend.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        with quiet():
            from trainer.export import export
    except ImportError as error:
        raise missing(error) from error
    with reporting(arguments, FAMILY) as timings:
        figures = export(
            arguments.checkpoint, arguments.calibrate, arguments.out, arguments.size, arguments.seed, about, timings
        )
    show(arguments, figures, "\n".join(f"{name}: {value}" for name, value in figures.items()))
    return 0


def read_about(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        about = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--about {path} cannot be read as JSON: {error}") from error
    if not isinstance(about, dict):
        raise ConfigError(f"--about {path} must hold a JSON object, not {type(about).__name__}")
    return about
