"""What several commands take: words, options that repeat, the extra that must be there, and the backend of Keras."""

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from agent.errors import ConfigError, StateError
from agent.learning.heads.store import HeadStore
from agent.state import generations
from agent.vision.backbone import FAMILY
from trainer.quiet import quiet

T = TypeVar("T")

BACKENDS = ("tensorflow", "torch", "jax")
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
BACKENDS_NOTE = "KERAS_BACKEND chooses tensorflow (default, and the fastest on a CPU), torch or jax."
TRAINING_CODES = (
    "exit codes: 0 done, 2 bad arguments, 3 bad pictures, 4 bad backbone, 5 cannot be written, 6 cannot learn"
)


# Words that say what is wrong with them


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return number


def natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must not be negative: {text}")
    return number


def minutes(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"must be more than 0, not {text}")
    return number


def multiple_of_32(text: str) -> int:
    number = positive(text)
    if number % 32:
        raise argparse.ArgumentTypeError(f"must be a multiple of 32, not {text}")
    return number


def _existing(what: str, is_there: Callable[[Path], bool]) -> Callable[[str], Path]:
    def existing(text: str) -> Path:
        path = Path(text)
        try:
            there = is_there(path)
        except OSError as error:  # a name that is too long, a folder that nobody may look into
            raise argparse.ArgumentTypeError(f"{text}: {error.strerror}") from error
        if not there:
            raise argparse.ArgumentTypeError(f"there is no {what} {text}")
        return path

    return existing


file = _existing("file", Path.is_file)
folder = _existing("folder", Path.is_dir)
file_or_folder = _existing("folder or file", Path.exists)


def checkpoint(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".keras":
        raise argparse.ArgumentTypeError(f"must end in .keras: {text}")
    return path


# Options that repeat


def add_workers(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--workers", type=positive, default=os.cpu_count() or 1, help="processes on this machine (all cores)")
    add("--scheduler", metavar="tcp://…", help="of a Dask cluster, instead; its workers need lastlayer installed")


def check_keras(arguments: argparse.Namespace) -> None:
    """Of --keras, --size, --backbone and --scheduler. Raises ConfigError for those that do not go together."""
    if arguments.keras and (arguments.backbone or arguments.scheduler):
        raise ConfigError("--keras stands alone: it takes no --backbone and no --scheduler")
    if arguments.size and not arguments.keras:
        raise ConfigError("--size is for --keras: a bundle knows how large its pictures are")
    if arguments.backbone and Path(arguments.backbone).suffix in (".keras", ".h5"):
        raise ConfigError(
            f"--backbone {arguments.backbone} is a network of Keras: name it by --keras, or make a bundle of it by "
            "`lastlayer-trainer export`"
        )


def add_network(command: argparse.ArgumentParser) -> None:
    """How a network is opened that somebody else made: see loading.Wanted."""
    add = command.add_argument
    add("--weights", metavar="W", help="imagenet (default), random, or a file")
    add("--size", type=positive, metavar="N", help="side of the pictures in pixels (the network's own)")
    add("--layer", metavar="NAME", help="where to cut (at the penultimate layer)")
    add("--preprocess", metavar="P", help="a file's, if not inside: none unit signed torch caffe")
    add("--custom", action="append", default=[], metavar="MOD:CLASS", help="a layer of yours")


def add_training(command: argparse.ArgumentParser, batch: int) -> None:
    """Beside the rates: see loop.Terms."""
    add = command.add_argument
    add("--out", type=checkpoint, required=True, metavar="NET.keras", help="the checkpoint, and the result")
    add("--resume", action="store_true", help="go on from the checkpoint")
    add("--alpha", type=float, metavar="A", help="width of a MobileNet (its own)")
    add("--batch", type=positive, default=batch, metavar="N", help=f"pictures a step ({batch})")
    add("--views", type=positive, default=3, metavar="N", help="crops of each picture (3)")
    add("--seed", type=int, default=0, metavar="N", help="of weights, crops and order (0)")
    add("--workers", type=positive, default=os.cpu_count() or 1, metavar="N", help="threads for pictures (all cores)")
    add("--precision", choices=PRECISIONS, default="auto", metavar="P", help=", ".join(PRECISIONS))
    add("--checkpoint-s", type=float, default=120.0, metavar="S", help="seconds between checkpoints (120)")
    add("--tensorboard", type=Path, metavar="DIR", help="write curves for TensorBoard")


def filled(kind: type[T], arguments: argparse.Namespace, **more: Any) -> T:
    """A dataclass whose fields are called as options are; `more` are those that are not."""
    names = [field.name for field in fields(kind) if field.name not in more]  # type: ignore[arg-type]
    return kind(**{name: getattr(arguments, name) for name in names}, **more)


def head_in(state: Path, version: str | None) -> tuple[str, HeadStore]:
    """The version of the head that is meant of a state, that in service if none is named, and where it is.

    Raises StateError where there is no such folder, or no head in it.
    """
    if not state.is_dir():
        raise StateError(f"there is no folder {state}: name a state, such as `collect` and `bottlenecks` make")
    store = HeadStore(generations.current(state) / "heads")
    version = version or store.active()
    if version is None:
        raise StateError(f"{state} has no head yet: `lastlayer --state {state} retrain` makes one")
    return version, store


# The extra


@contextlib.contextmanager
def extra(*, hushed: bool = False) -> Iterator[None]:
    """Around the imports of what only the trainer extra brings, silent where they say much.

    Raises ConfigError where something is not installed.
    """
    try:
        with quiet() if hushed else contextlib.nullcontext():
            yield
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed: pip install 'lastlayer[trainer]'") from error


def choose_backend() -> None:
    """For a training: KERAS_BACKEND, or TensorFlow. To be called before Keras is imported.

    Raises ConfigError where KERAS_BACKEND names something else.
    """
    # Each is read once, when Keras or torch's OpenMP is loaded. Threads that spin while they wait
    # make torch many times slower as soon as anything else runs.
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    hush_tensorflow()
    if os.environ["KERAS_BACKEND"] not in BACKENDS:
        raise ConfigError(f"KERAS_BACKEND is {os.environ['KERAS_BACKEND']!r}; it can be {', '.join(BACKENDS)}")


def runtime(keras: Path | None) -> str:
    """What computes bottlenecks: the TFLite runtime that is here, or Keras, whose backend is then chosen."""
    if keras is None:
        return FAMILY
    choose_backend()
    return f"keras-{os.environ['KERAS_BACKEND']}"


def hush_tensorflow() -> None:
    """What it says of this machine's processor is for its own people. To be called before it is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
