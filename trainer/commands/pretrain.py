"""`lastlayer-trainer pretrain`: a backbone from a corpus."""

import argparse
import os
from pathlib import Path
from typing import Any

from agent.commands.terminal import say, show
from trainer.commands.arguments import (
    checkpoint,
    choose_backend,
    file,
    folder,
    minutes,
    missing,
    multiple_of_32,
    positive,
)
from trainer.quiet import quiet
from trainer.reporting import reporting

EPILOG = """\
KERAS_BACKEND chooses tensorflow (default, and the fastest on a CPU), torch or jax.
example: lastlayer-trainer pretrain corpus/ --teacher mobilenet_v2.tflite --minutes 40 --out net.keras
exit codes: 0 done, 2 bad arguments, 3 bad pictures, 4 bad backbone, 130 interrupted
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    command = commands.add_parser(
        "pretrain",
        parents=[options],
        usage="lastlayer-trainer pretrain CORPUS --out NET.keras [options]",
        help="train a backbone from a corpus",
        description="Trains a small backbone from npz shards of labelled pictures, by the clock.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("corpus", type=folder, help="folder of npz shards (arrays data, offsets, label, val)")
    add("--out", type=checkpoint, required=True, help="checkpoint to write, *.keras")
    add("--minutes", type=minutes, default=40.0, help="how long to train, the teacher's time not counted (40)")
    add("--teacher", type=file, help="a quantized image classifier, *.tflite, to learn from as well")
    add("--cache", type=Path, help="where the teacher's answers are kept (teacher/ beside the checkpoint)")
    add("--size", type=multiple_of_32, default=96, help="side of the pictures in pixels (96)")
    add("--batch", type=positive, default=128, help="pictures a step (128)")
    add("--views", type=positive, default=3, help="crops of each picture (3)")
    add("--seed", type=int, default=0, help="of weights, crops and order (0)")
    add("--workers", type=positive, default=os.cpu_count() or 1, help="threads that ask the teacher (all cores)")
    add("--resume", action="store_true", help="go on from the checkpoint")
    command.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    choose_backend()
    try:
        with quiet():
            from trainer.pretrain import Recipe, pretrain
    except ImportError as error:
        raise missing(error) from error
    names = ("corpus", "out", "minutes", "size", "batch", "views", "seed", "workers", "teacher", "cache", "resume")
    recipe = Recipe(**{name: getattr(arguments, name) for name in names})
    with reporting(arguments, f"keras-{os.environ['KERAS_BACKEND']}") as timings:
        figures = pretrain(recipe, say, timings)
    show(arguments, figures, "\n".join(f"{name}: {value}" for name, value in figures.items()))
    return 0
