"""`lastlayer-trainer pretrain`: a backbone from a corpus."""

import argparse
import os
from pathlib import Path
from typing import Any

from agent.terminal import command
from trainer.commands.arguments import (
    BACKENDS_NOTE,
    TRAINING_CODES,
    add_training,
    choose_backend,
    extra,
    file,
    file_or_folder,
    filled,
    minutes,
    multiple_of_32,
)
from trainer.reporting import reporting, show_with_phases

EPILOG = f"""\
{BACKENDS_NOTE}
example: lastlayer-trainer pretrain corpus/ --teacher mobilenet_v2.tflite --minutes 40 --out net.keras
{TRAINING_CODES}
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "pretrain",
        options,
        execute,
        usage="lastlayer-trainer pretrain CORPUS --out NET.keras [options]",
        summary="train a backbone from a corpus",
        description="Trains a backbone from nothing on labelled pictures, by the clock; with a teacher it learns more.",
        epilog=EPILOG,
    )
    add = parser.add_argument
    add("corpus", type=file_or_folder, help="npz shards, class folders, a .zip, or a .csv list")
    add("--network", default="tinyresnet", metavar="NAME", help="tinyresnet, or one of keras.applications")
    add("--minutes", type=minutes, default=40.0, metavar="M", help="how long, the teacher's time not counted (40)")
    add("--teacher", type=file, metavar="FILE", help="a quantized classifier, *.tflite, to learn from")
    add("--cache", type=Path, metavar="DIR", help="of the teacher's answers (teacher/ beside NET.keras)")
    add("--size", type=multiple_of_32, default=96, metavar="N", help="side of the pictures in pixels (96)")
    add("--rate", type=float, default=3e-3, metavar="R", help="the highest learning rate (0.003)")
    add_training(parser, batch=128)


def execute(arguments: argparse.Namespace) -> int:
    choose_backend()
    with extra(hushed=True):
        from trainer.making.pretrain import Pretraining, pretrain
    terms = filled(Pretraining, arguments)
    with reporting(arguments, f"keras-{os.environ['KERAS_BACKEND']}") as timings:
        figures = pretrain(terms, timings)
    show_with_phases(arguments, figures, "\n".join(f"{name}: {value}" for name, value in figures.items()), timings)
    return 0
