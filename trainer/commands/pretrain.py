"""`lastlayer-trainer pretrain`: a backbone from a corpus."""

import argparse
import os
from pathlib import Path
from typing import Any

from agent.reporting.timing import table
from agent.terminal import show
from trainer.commands import training
from trainer.commands.arguments import choose_backend, corpus, file, minutes, missing, multiple_of_32
from trainer.quiet import quiet
from trainer.reporting import reporting

EPILOG = f"""\
{training.BACKENDS_NOTE}
example: lastlayer-trainer pretrain corpus/ --teacher mobilenet_v2.tflite --minutes 40 --out net.keras
{training.EXIT_CODES}
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    command = commands.add_parser(
        "pretrain",
        parents=[options],
        usage="lastlayer-trainer pretrain CORPUS --out NET.keras [options]",
        help="train a backbone from a corpus",
        description="Trains a backbone from nothing on labelled pictures, by the clock; with a teacher it learns more.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("corpus", type=corpus, help="npz shards, class folders, a .zip, or a .csv list")
    add("--network", default="tinyresnet", metavar="NAME", help="tinyresnet, or one of keras.applications")
    add("--minutes", type=minutes, default=40.0, metavar="M", help="how long, the teacher's time not counted (40)")
    add("--teacher", type=file, metavar="FILE", help="a quantized classifier, *.tflite, to learn from")
    add(
        "--cache",
        type=Path,
        metavar="DIR",
        help="of the teacher's answers (teacher/ beside NET.keras)",
    )
    add("--size", type=multiple_of_32, default=96, metavar="N", help="side of the pictures in pixels (96)")
    add("--rate", type=float, default=3e-3, metavar="R", help="the highest learning rate (0.003)")
    training.add_options(command, batch=128)
    command.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    choose_backend()
    try:
        with quiet():
            from trainer.making.pretrain import Recipe, pretrain
    except ImportError as error:
        raise missing(error) from error
    names = ("network", "minutes", "teacher", "cache", "size", "rate", "alpha", "seed", *training.SHARED)
    recipe = Recipe(**{name: getattr(arguments, name) for name in names})
    with reporting(arguments, f"keras-{os.environ['KERAS_BACKEND']}") as timings:
        figures = pretrain(recipe, timings)
    phases = timings.since_start()
    text = "\n".join(f"{name}: {value}" for name, value in figures.items())
    show(arguments, figures | {"phases": [report.as_dict() for report in phases]}, f"{text}\n\n{table(phases)}")
    return 0
