"""The command line of the trainer: the one place here that reads arguments and prints."""

import argparse
import json
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.errors import ConfigError, LastlayerError
from trainer.quiet import quiet

BACKENDS = ("tensorflow", "torch", "jax")
EXIT_CODES = "exit codes: 0 done, 2 bad arguments, 3 bad pictures, 4 bad backbone, 130 interrupted"


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return number


def minutes(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"must be more than 0, not {text}")
    return number


def input_size(text: str) -> int:
    number = positive(text)
    if number % 32:
        raise argparse.ArgumentTypeError(f"must be a multiple of 32, not {text}")
    return number


def folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return path


def file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def checkpoint(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".keras":
        raise argparse.ArgumentTypeError(f"must end in .keras: {text}")
    return path


def report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run_pretrain(options: argparse.Namespace) -> dict[str, Any]:
    # Each is read once, when Keras or torch's OpenMP is loaded. Threads that spin while they wait
    # make torch many times slower as soon as anything else runs.
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if os.environ["KERAS_BACKEND"] not in BACKENDS:
        raise ConfigError(f"KERAS_BACKEND is {os.environ['KERAS_BACKEND']!r}; it can be {', '.join(BACKENDS)}")
    try:
        with quiet():
            from trainer.pretrain import Recipe, pretrain
    except ImportError as error:
        raise missing(error) from error
    names = ("corpus", "out", "minutes", "size", "batch", "views", "seed", "workers", "teacher", "cache", "resume")
    return pretrain(Recipe(**{name: getattr(options, name) for name in names}), report)


def missing(error: ImportError) -> ConfigError:
    return ConfigError(f"{error.name} is not installed: pip install 'lastlayer[trainer]'")


def add_pretrain(commands: Any) -> None:
    parser = commands.add_parser(
        "pretrain",
        help="train a backbone from a corpus",
        description="Trains a small backbone from npz shards of labelled pictures, by the clock.",
        epilog="KERAS_BACKEND chooses tensorflow (default, and the fastest on a CPU), torch or jax.\n"
        "example: lastlayer-trainer pretrain corpus/ --teacher mobilenet_v2.tflite --minutes 40 --out net.keras\n"
        + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("corpus", type=folder, help="folder of npz shards (arrays data, offsets, label, val)")
    add("--out", type=checkpoint, required=True, help="checkpoint to write, *.keras")
    add("--minutes", type=minutes, default=40.0, help="how long to train, the teacher's time not counted (40)")
    add("--teacher", type=file, help="a quantized image classifier, *.tflite, to learn from as well")
    add("--cache", type=Path, help="where the teacher's answers are kept (teacher/ beside the checkpoint)")
    add("--size", type=input_size, default=96, help="side of the pictures in pixels (96)")
    add("--batch", type=positive, default=128, help="pictures a step (128)")
    add("--views", type=positive, default=3, help="crops of each picture (3)")
    add("--seed", type=int, default=0, help="of weights, crops and order (0)")
    add("--workers", type=positive, default=os.cpu_count() or 1, help="threads that ask the teacher (all cores)")
    add("--resume", action="store_true", help="go on from the checkpoint")
    add("--json", action="store_true", help="figures as JSON on stdout")
    parser.set_defaults(run=run_pretrain)


def run_export(options: argparse.Namespace) -> dict[str, Any]:
    about = read_about(options.about) | {"command": shlex.join(["lastlayer-trainer", *options.arguments])}
    # The converter is TensorFlow's; a checkpoint may come from any backend.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        with quiet():
            from trainer.export import export
    except ImportError as error:
        raise missing(error) from error
    return export(options.checkpoint, options.calibrate, options.out, options.size, options.seed, about)


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


def add_export(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="quantize a checkpoint into a bundle",
        description="Cuts a trained backbone at its bottleneck, quantizes it (int8, uint8 image in) and writes a\n"
        "bundle: model.tflite and manifest.json. Then compares it with the float network on held-out pictures.",
        epilog="example: lastlayer-trainer export net.keras --calibrate corpus/ --out models/tinyresnet_96\n"
        + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("checkpoint", type=file, help="what pretrain wrote, *.keras")
    add("--calibrate", type=folder, required=True, help="folder of npz shards or of JPEG and PNG pictures, 100 or more")
    add("--out", type=Path, required=True, help="folder of the bundle; its name becomes the bundle's")
    add("--about", type=file, help="JSON object to add to the manifest: description, licence, sources")
    add("--size", type=input_size, default=96, help="side of the input in pixels (96)")
    add("--seed", type=int, default=0, help="of the choice of pictures (0)")
    add("--json", action="store_true", help="figures as JSON on stdout")
    parser.set_defaults(run=run_export)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="lastlayer-trainer",
        description="Makes backbones for Lastlayer: trains them and exports them as quantized bundles.",
        epilog="example: lastlayer-trainer pretrain corpus/ --minutes 40 --out net.keras\n" + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_pretrain(commands)
    add_export(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(arguments, argparse.Namespace(arguments=arguments))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        figures = options.run(options)
    except LastlayerError as error:
        report(f"lastlayer-trainer {options.command}: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        report(f"lastlayer-trainer {options.command}: interrupted")
        return 130
    if options.json:
        print(json.dumps(figures, indent=1))
    else:
        for name, value in figures.items():
            print(f"{name}: {value}")
    return 0
