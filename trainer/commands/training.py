"""The options that all trainings share."""

import argparse
import os
from pathlib import Path

from trainer.commands.arguments import checkpoint, positive

PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
BACKENDS_NOTE = "KERAS_BACKEND chooses tensorflow (default, and the fastest on a CPU), torch or jax."
EXIT_CODES = "exit codes: 0 done, 2 bad arguments, 3 bad pictures, 4 bad backbone, 5 cannot be written, 6 cannot learn"


def add_options(command: argparse.ArgumentParser, batch: int) -> None:
    add = command.add_argument
    add("--out", type=checkpoint, required=True, metavar="NET.keras", help="the checkpoint, and the result")
    add("--resume", action="store_true", help="go on from the checkpoint")
    add("--alpha", type=float, metavar="A", help="width of a MobileNet (its own)")
    add("--batch", type=positive, default=batch, metavar="N", help=f"pictures a step ({batch})")
    add("--views", type=positive, default=3, metavar="N", help="crops of each picture (3)")
    add("--seed", type=int, default=0, metavar="N", help="of weights, crops and order (0)")
    add("--workers", type=positive, default=os.cpu_count() or 1, metavar="N", help="threads for pictures (all cores)")
    add(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        metavar="P",
        help="auto, float32, mixed_bfloat16, mixed_float16",
    )
    add("--checkpoint-s", type=float, default=120.0, metavar="S", help="seconds between checkpoints (120)")
    add("--tensorboard", type=Path, metavar="DIR", help="write curves for TensorBoard")


SHARED = ("corpus", "out", "batch", "views", "workers", "precision", "checkpoint_s", "tensorboard", "resume")
