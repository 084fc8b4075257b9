"""`lastlayer-trainer finetune`: a network that was trained on something else, fitted to a corpus."""

import argparse
import os
from typing import Any

from agent.terminal import command
from trainer.commands.arguments import (
    BACKENDS_NOTE,
    TRAINING_CODES,
    add_network,
    add_training,
    choose_backend,
    extra,
    file_or_folder,
    filled,
    natural,
)
from trainer.reporting import reporting, show_with_phases

EPILOG = f"""\
{BACKENDS_NOTE}
example: lastlayer-trainer finetune MobileNetV2 pictures/ --alpha 0.35 --size 96 --out net.keras
{TRAINING_CODES}
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "finetune",
        options,
        execute,
        usage="lastlayer-trainer finetune NETWORK CORPUS --out NET.keras [options]",
        summary="fit a trained network to a corpus",
        description="Trains a new top on the frozen network first, and then all of it. export takes what comes out.",
        epilog=EPILOG,
    )
    add = parser.add_argument
    add("network", help="a .keras or .h5 file, or a name in keras.applications")
    add("corpus", type=file_or_folder, help="npz shards, class folders, a .zip, or a .csv list")
    add_network(parser)
    add("--top-epochs", type=natural, default=2, metavar="N", help="epochs of the new top alone (2)")
    add("--epochs", type=natural, default=5, metavar="N", help="epochs of all of it (5)")
    add("--top-rate", type=float, default=1e-3, metavar="R", help="the top's highest learning rate (0.001)")
    add("--rate", type=float, default=1e-4, metavar="R", help="the highest learning rate of all of it (0.0001)")
    add_training(parser, batch=64)


def execute(arguments: argparse.Namespace) -> int:
    choose_backend()
    with extra(hushed=True):
        from trainer.making.finetune import Finetuning, finetune
        from trainer.networks.loading import Wanted
    wanted = filled(Wanted, arguments, source=arguments.network, custom=tuple(arguments.custom), cut=())
    terms = filled(Finetuning, arguments, network=wanted)
    with reporting(arguments, f"keras-{os.environ['KERAS_BACKEND']}") as timings:
        figures = finetune(terms, timings)
    show_with_phases(arguments, figures, "\n".join(f"{name}: {value}" for name, value in figures.items()), timings)
    return 0
