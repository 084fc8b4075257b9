"""What the arguments that commands share mean."""

import argparse
import os
from pathlib import Path

from agent.board import systemd
from agent.state import generations


def state_folder(arguments: argparse.Namespace) -> Path:
    """The folder of the generation in use of the state."""
    return generations.current(state_root(arguments))


def state_root(arguments: argparse.Namespace) -> Path:
    """--state, or systemd's folder for a service, or that for a person (XDG base directory specification)."""
    if arguments.state is not None:
        return Path(arguments.state)
    service = systemd.state_directory()
    if service is not None:
        return service
    base = os.environ.get("XDG_STATE_HOME")
    return Path(base if base else Path.home() / ".local" / "state") / "lastlayer"
