"""The tasks of a state: each has a folder of the same form, and `default` is the state itself.

STATE/              the task `default`: backbone/, cache/, heads/, generations
STATE/tasks/NAME/   any other
"""

from pathlib import Path

from agent.errors import UnknownTaskError
from agent.records import DEFAULT_TASK

FOLDER = "tasks"
HOLDS = ("backbone", "cache", "heads")  # one of which a folder has that is a task's


def root_of(state: Path, task: str) -> Path:
    """The folder of a task, whether it is there or not."""
    return state if task == DEFAULT_TASK else state / FOLDER / task


def names(state: Path) -> list[str]:
    """The tasks of which something is kept in `state`, `default` first."""
    below = sorted(folder.name for folder in (state / FOLDER).glob("[!.]*"))
    return [name for name in [DEFAULT_TASK, *below] if any((root_of(state, name) / part).is_dir() for part in HOLDS)]


def existing(state: Path, task: str) -> Path:
    """The folder of a task of which something is kept. Raises UnknownTaskError, which lists those that there are."""
    known = names(state)
    if task not in known:
        there = f"there are {', '.join(known)}" if known else "there is none yet"
        raise UnknownTaskError(f"no task {task[:40]!r} is kept in {state}: {there}")
    return root_of(state, task)
