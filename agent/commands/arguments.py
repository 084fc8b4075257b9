"""The arguments that commands share, and what they mean."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from agent.board import systemd
from agent.state import generations

if TYPE_CHECKING:
    from agent.config import Config


def add_source(parser: argparse.ArgumentParser, note: str = "") -> None:
    """Where labelled pictures are, as `source`."""
    parser.add_argument("source", type=Path, help=f"{note}a folder of class folders, a .zip, or a .csv or .tsv list")


def add_config(parser: argparse.ArgumentParser) -> None:
    """The daemon's configuration, as `config`."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML; systemd/lastlayer.yaml shows every key")


def state_folder(arguments: argparse.Namespace) -> Path:
    """The folder of the generation in use of the task. Raises as task_root does."""
    return generations.current(task_root(arguments))


def task_root(arguments: argparse.Namespace) -> Path:
    """The folder of the task in the state that is meant: --task, or `default`.

    Raises UnknownTaskError where there is none, or where it has to be said which, ConfigError for what is no name.
    """
    from agent.state import tasks  # not before: `doctor` speaks where there is no numpy

    return tasks.meant(state_root(arguments), arguments.task)


def state_root(arguments: argparse.Namespace) -> Path:
    """--state, or systemd's folder for a service, or that for a person (XDG base directory specification)."""
    if arguments.state is not None:
        return Path(arguments.state)
    service = systemd.state_directory()
    if service is not None:
        return service
    base = os.environ.get("XDG_STATE_HOME")
    return Path(base if base else Path.home() / ".local" / "state") / "lastlayer"


def service_root(arguments: argparse.Namespace, config: "Config") -> Path:
    """--state, or what the configuration says, or what `state_root` falls back on."""
    return config.state if arguments.state is None and config.state is not None else state_root(arguments)
