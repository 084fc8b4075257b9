"""`lastlayer tasks`: the questions of a state, each with its own examples and heads, and what they are called."""

import argparse
from pathlib import Path
from typing import Any

from agent.cache import Cache
from agent.commands import SUMMARIES
from agent.commands.arguments import state_root
from agent.errors import LastlayerError
from agent.learning.heads.store import HeadStore
from agent.state import generations, tasks
from agent.state.renaming import rename
from agent.terminal import columns, command, say, show
from agent.vision.bundle import load_bundle

EXAMPLE = """\
example:  lastlayer --state S tasks
          lastlayer --state S tasks rename gate front_gate
          lastlayer --state S tasks rename default gate     # what was learnt before there were tasks

A task that the configuration calls something else from now on is asked of nobody any more under its old name; `rename`
brings over all that it has learnt, while the service is stopped. Whatever ends it, nothing is lost: the same command
again completes it.
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "tasks",
        options,
        execute,
        summary=SUMMARIES["tasks"],
        description="Lists the tasks of a state, or gives one of them another name.",
        epilog=EXAMPLE,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    renaming = actions.add_parser("rename", parents=[options], help="call a task something else")
    renaming.add_argument("old", help="as listed")
    renaming.add_argument("new", help="a word of at most 40 letters, digits, - and _")


def execute(arguments: argparse.Namespace) -> int:
    state = state_root(arguments)
    if arguments.action == "rename":
        rename(state, arguments.old, arguments.new)
        show(arguments, {"renamed": arguments.old, "task": arguments.new}, f"{arguments.old} is {arguments.new} now")
        return 0
    known = {name: _described(tasks.root_of(state, name)) for name in tasks.names(state)}
    show(arguments, {"tasks": known}, _text(known) or f"{state} holds no task yet: `lastlayer learn` begins one")
    try:
        tasks.check_whole(state)
    except LastlayerError as error:
        say(f"lastlayer tasks: {error}")
        return error.exit_code
    return 0


def _described(root: Path) -> dict[str, Any]:
    """A task, or as much of it as can be read and why there is no more."""
    known: dict[str, Any] = {"backbone": None, "head": None, "examples": 0, "labels": {}}
    try:
        folder = generations.current(root)
        if any((folder / "cache").glob("*.seg")):
            with Cache.read(folder / "cache") as cache:
                known["labels"] = cache.label_counts()
            known["examples"] = sum(known["labels"].values())
        known["head"] = HeadStore(folder / "heads").active()
        known["backbone"] = load_bundle(folder / "backbone").name
    except LastlayerError as error:
        known["error"] = str(error)
    return known


def _text(known: dict[str, dict[str, Any]]) -> str:
    if not known:
        return ""
    rows = [["task", "backbone", "examples", "labels", "head", ""]]
    for name, task in known.items():
        counts = [str(task["examples"]), str(len(task["labels"]))]
        rows.append([name, task["backbone"] or "-", *counts, task["head"] or "-", task.get("error", "")])
    return columns(rows)
