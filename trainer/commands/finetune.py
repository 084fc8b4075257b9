"""`lastlayer-trainer finetune`: a network that was trained on something else, fitted to a corpus."""

import argparse
import os
from typing import Any

from agent.reporting.timing import table
from agent.terminal import show
from trainer.commands import training
from trainer.commands.arguments import choose_backend, corpus, missing, natural, positive
from trainer.quiet import quiet
from trainer.reporting import reporting

EPILOG = f"""\
{training.BACKENDS_NOTE}
example: lastlayer-trainer finetune MobileNetV2 pictures/ --alpha 0.35 --size 96 --out net.keras
{training.EXIT_CODES}
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    command = commands.add_parser(
        "finetune",
        parents=[options],
        usage="lastlayer-trainer finetune NETWORK CORPUS --out NET.keras [options]",
        help="fit a trained network to a corpus",
        description="Trains a new top on the frozen network first, and then all of it. export takes what comes out.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("network", help="a .keras or .h5 file, or a name in keras.applications")
    add("corpus", type=corpus, help="npz shards, class folders, a .zip, or a .csv list")
    add("--weights", metavar="W", help="imagenet (default), random, or a file")
    add("--size", type=positive, metavar="N", help="side of the pictures in pixels (the network's own)")
    add("--layer", metavar="NAME", help="where to cut (at the penultimate layer)")
    add("--preprocess", metavar="P", help="a file's, if not inside: none unit signed torch caffe")
    add("--custom", action="append", default=[], metavar="MOD:CLASS", help="a layer of yours")
    add("--top-epochs", type=natural, default=2, metavar="N", help="epochs of the new top alone (2)")
    add("--epochs", type=natural, default=5, metavar="N", help="epochs of all of it (5)")
    add("--top-rate", type=float, default=1e-3, metavar="R", help="the top's highest learning rate (0.001)")
    add("--rate", type=float, default=1e-4, metavar="R", help="the highest learning rate of all of it (0.0001)")
    training.add_options(command, batch=64)
    command.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    choose_backend()
    try:
        with quiet():
            from trainer.making.finetune import Recipe, finetune
            from trainer.networks.loading import Wanted
    except ImportError as error:
        raise missing(error) from error
    names = ("weights", "alpha", "size", "seed", "layer", "preprocess")
    wanted = Wanted(
        arguments.network, custom=tuple(arguments.custom), **{name: getattr(arguments, name) for name in names}
    )
    settings = ("top_epochs", "epochs", "top_rate", "rate", *training.SHARED)
    recipe = Recipe(wanted, **{name: getattr(arguments, name) for name in settings})
    with reporting(arguments, f"keras-{os.environ['KERAS_BACKEND']}") as timings:
        figures = finetune(recipe, timings)
    phases = timings.since_start()
    text = "\n".join(f"{name}: {value}" for name, value in figures.items())
    show(arguments, figures | {"phases": [report.as_dict() for report in phases]}, f"{text}\n\n{table(phases)}")
    return 0
