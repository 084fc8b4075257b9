"""What the command line can do: a module for each command, with `register` and the work itself.

A module is imported only when its command is asked for: `lastlayer push` must not wait for numpy.
"""

from pathlib import Path

_DEMO = Path(__file__).resolve().parents[2] / "demo" / "command.py"

SUMMARIES = {
    "run": "serve: frames over HTTP, reports over MQTT",
    "learn": "take labelled pictures into the cache",
    "retrain": "make a new head from the cache",
    "evaluate": "measure the head in service on labelled pictures",
    "classify": "say what pictures show",
    "cache": "count, check, delete and rename examples",
    "heads": "list heads, show one, put one into service, roll back",
    "push": "send pictures to a running board",
    "models": "list backbones, take one in, change which one is in use",
    "doctor": "say why the service would fail, before it does",
    "bench": "measure this machine beside the 2016 study",
}
if _DEMO.exists():  # on a desktop; the package for a board leaves it out
    SUMMARIES["demo"] = "see the whole way once, with real pictures"


def module(name: str) -> str:
    """Where a command is."""
    return "demo.command" if name == "demo" else f"agent.commands.{name}"
