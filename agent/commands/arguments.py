"""The arguments that commands share, and what they mean."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from agent.board import systemd
from agent.errors import UnknownTaskError
from agent.region import UNCUT, Cut
from agent.state import generations

if TYPE_CHECKING:
    from agent.config import Config

SERVICE_CONFIG = Path("/etc/lastlayer/lastlayer.yaml")


def add_source(parser: argparse.ArgumentParser, note: str = "") -> None:
    """Where labelled pictures are, as `source`."""
    parser.add_argument("source", type=Path, help=f"{note}a folder of class folders, a .zip, or a .csv or .tsv list")


def add_config(parser: argparse.ArgumentParser) -> None:
    """The daemon's configuration, as `config`."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML; systemd/lastlayer.yaml shows every key")


def add_view(parser: argparse.ArgumentParser) -> None:
    """How whole frames are cut, as `view` and `config`."""
    parser.add_argument("--view", metavar="NAME", help="of whole frames: what this view of the task sees of them")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"where that view is described (default: {SERVICE_CONFIG})"
    )


def cut_of(arguments: argparse.Namespace) -> Cut:
    """What --view cuts out of a frame; without it pictures are taken as they are.

    Raises ConfigError, and UnknownTaskError for a task or a view that the configuration does not name.
    """
    if arguments.view is None:
        return UNCUT
    from agent.config import ViewConfig, load_config  # not before: `doctor` speaks where there is no YAML
    from agent.records import DEFAULT_TASK  # nor numpy

    path, task = arguments.config or SERVICE_CONFIG, arguments.task or DEFAULT_TASK
    tasks = load_config(path).tasks
    if task not in tasks:
        there = f"it names {', '.join(tasks)}" if tasks else "it names none"
        raise UnknownTaskError(f"--view {arguments.view}: {path} names no task {task!r:.60}: {there}")
    views = tasks[task].views or (ViewConfig(),)
    found = [view for view in views if view.known_as == arguments.view]
    found = found or [view for view in views if not view.known_as]  # called by the cameras of frames
    if not found:
        there = ", ".join(view.known_as for view in views)
        raise UnknownTaskError(f"{path}: the task {task} has no view {arguments.view!r:.60}: it has {there}")
    return Cut(found[0].region, found[0].rotate)


def state_folder(arguments: argparse.Namespace) -> Path:
    """The folder of the generation in use of the task. Raises as task_root does."""
    return generations.current(task_root(arguments))


def task_root(arguments: argparse.Namespace) -> Path:
    """The folder of the task in the state that is meant: --task, or `default`.

    Raises UnknownTaskError where there is none, or where it has to be said which, ConfigError for what is no name.
    """
    from agent.state import tasks  # not before, as in `cut_of`

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
