"""`lastlayer models`: the backbones of a state, and which of them is in use."""

import argparse
from pathlib import Path
from typing import Any

from agent.board.files import read_bounded
from agent.commands import SUMMARIES
from agent.commands.arguments import task_root
from agent.errors import BundleError, LastlayerError, StateError
from agent.state import generations
from agent.state.arrivals import take_backbone, take_sent_backbone
from agent.state.parcels import MAX_PARCEL_BYTES, memory_for
from agent.terminal import columns, command, show

EXAMPLE = """\
example:  lastlayer --state S models
          lastlayer --state S models import models/mine --use
          lastlayer --state S models import any_size.tflite --size 224 --input-range -1 1
          lastlayer --state S models rollback

A new backbone begins with an empty cache and no head: bottlenecks of two backbones are never mixed. The old one keeps
its examples and heads, and a rollback returns to them. A running daemon follows within seconds.
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "models",
        options,
        execute,
        summary=SUMMARIES["models"],
        description="Lists the backbones of a state, takes a new one in, or changes which one is in use.",
        epilog=EXAMPLE,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    importing = actions.add_parser("import", parents=[options], help="take in a bundle's folder, a .tflite, a .parcel")
    importing.add_argument("source", help="a folder, a .tflite, a name in models/, or what `publish` packed")
    importing.add_argument("--use", action="store_true", help="use it from now on")
    using = actions.add_parser("use", parents=[options], help="use another backbone of this state")
    using.add_argument("name", help="as listed")
    actions.add_parser("rollback", parents=[options], help="return to the backbone that was in use before")


def execute(arguments: argparse.Namespace) -> int:
    state = task_root(arguments)
    if arguments.action == "import":
        name = _taken_in(state, arguments.source, arguments.input_range, arguments.size)
        if arguments.use:
            generations.use(state, name)
        used = "in use" if generations.in_use(state) == name else f"not in use yet: lastlayer models use {name}"
        show(arguments, {"bundle": name, "in_use": generations.in_use(state)}, f"{name} is {used}")
    elif arguments.action == "use":
        generations.use(state, arguments.name)
        show(arguments, {"in_use": arguments.name}, f"{arguments.name} is in use")
    elif arguments.action == "rollback":
        name = generations.rollback(state)
        show(arguments, {"in_use": name}, f"{name} is in use again")
    else:
        in_use = generations.in_use(state)
        known = [_described(state, name) for name in generations.names(state)]
        show(arguments, {"in_use": in_use, "models": known}, _text(in_use, known))
    return 0


def _taken_in(state: Path, source: str, input_range: tuple[float, float] | None, size: tuple[int, int] | None) -> str:
    if not (state / "backbone").is_dir():
        raise StateError(f"{state} holds no state yet: its first backbone is what --backbone names when it begins")
    if not source.endswith(".parcel"):
        return take_backbone(state, source, input_range, size)
    try:
        parcel = read_bounded(source, MAX_PARCEL_BYTES)
    except OSError as error:
        raise BundleError(f"{source} cannot be read: {error.strerror}") from error
    with memory_for(parcel):
        return take_sent_backbone(state, parcel)


def _described(state: Path, name: str) -> dict[str, Any]:
    try:
        bundle = generations.bundle_of(state, name)
    except LastlayerError as error:
        return {"name": name, "error": str(error)}
    known = {"backbone": bundle.name, "sha256": bundle.sha256, "size": bundle.size}
    return {"name": name, **known, "height": bundle.height, "width": bundle.width}


def _text(in_use: str, known: list[dict[str, Any]]) -> str:
    rows = [["", "name", "backbone", "input", "bottleneck", "sha256"]]
    for model in known:
        mark = "*" if model["name"] == in_use else ""
        if "error" in model:
            rows.append([mark, model["name"], model["error"], "", "", ""])
            continue
        shape = f"{model['width']} x {model['height']}"
        rows.append([mark, model["name"], model["backbone"], shape, str(model["size"]), model["sha256"][:8]])
    return columns(rows) + "\n* in use"
