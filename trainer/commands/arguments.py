"""What several commands take: arguments that say what is wrong with a word, and the choice of the backend of Keras."""

import argparse
import os
from pathlib import Path

from agent.errors import ConfigError

BACKENDS = ("tensorflow", "torch", "jax")


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


def folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return path


def corpus(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"there is no folder or file {text}")
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


def hush_tensorflow() -> None:
    """What it says of this machine's processor is for its own people. To be called before it is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def missing(error: ImportError) -> ConfigError:
    return ConfigError(f"{error.name} is not installed: pip install 'lastlayer[trainer]'")
