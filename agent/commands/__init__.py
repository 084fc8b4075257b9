"""What the command line can do: a module for each command, with `register` and the work itself.

run.py                             the service
learn.py retrain.py evaluate.py    from labelled pictures to a head, and how good it is
classify.py                        what pictures show, here
push.py, and sender.py under it    pictures to a board that runs: the client that tries again
heads.py, and plots.py under it    the heads, and their curves as text and as a picture
cache.py models.py tasks.py        the examples; the backbones; the questions, each with its own of all these
doctor.py bench.py                 why the service would fail; how fast this machine is
arguments.py                       what several of them take, and which state is meant

`lastlayer demo` is not here: what it needs no board has. It is the package demo/, and a command where that lies beside
agent/, which the package for a board leaves out.

A module is imported only when its command is asked for: `lastlayer push` must not wait for numpy. They may import
whatever the agent has, and not each other.
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
    "tasks": "list tasks, give one another name",
    "doctor": "say why the service would fail, before it does",
    "bench": "measure this machine beside the 2016 study",
}
if _DEMO.exists():
    SUMMARIES["demo"] = "see the whole way once, with real pictures"

OF_ALL_TASKS = frozenset({"run", "doctor", "tasks", "demo"})  # and not of one, which --task would name


def module(name: str) -> str:
    """Where a command is."""
    return "demo.command" if name == "demo" else f"agent.commands.{name}"
