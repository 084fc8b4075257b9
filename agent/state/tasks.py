"""The tasks of a state: each has a folder of the same form, and `default` is the state itself.

STATE/                the task `default`: PARTS
STATE/tasks/NAME/     any other
STATE/tasks/.OLD.NEW/ what is on its way where one of both is `default`: renaming.py
"""

import re
from collections.abc import Collection
from pathlib import Path

from agent.config import TASK_NAME
from agent.errors import ConfigError, StateError, UnknownTaskError
from agent.learning.pictures.spelling import Labels
from agent.records import DEFAULT_TASK

FOLDER = "tasks"
BEGUN = ("backbone", "cache", "heads")  # one of which a folder has that is a task's
# All that is a task's in the state itself. `generation` goes first: without it the first generation is in use, whose
# parts are those that are looked for.
PARTS = ("generation", "generations", *BEGUN, "statistics", "training")

_ON_ITS_WAY = re.compile(rf"\.({TASK_NAME.pattern})\.({TASK_NAME.pattern})")


def root_of(state: Path, task: str) -> Path:
    """The folder of a task, whether it is there or not."""
    return state if task == DEFAULT_TASK else state / FOLDER / task


def state_of(root: Path) -> Path:
    """The state whose task has this folder."""
    return root.parent.parent if root.parent.name == FOLDER else root


def names(state: Path) -> list[str]:
    """The tasks of which something is kept in `state`, `default` first."""
    below = sorted(folder.name for folder in (state / FOLDER).glob("[!.]*"))
    return [name for name in [DEFAULT_TASK, *below] if any((root_of(state, name) / part).is_dir() for part in BEGUN)]


def checked(name: str) -> str:
    """The name of a task. Raises ConfigError for what can be none."""
    if not TASK_NAME.fullmatch(name):
        raise ConfigError(f"{name!r:.60} can be no task's name: it is a word of at most 40 letters, digits, - and _")
    return name


def existing(state: Path, task: str) -> Path:
    """The folder of a task of which something is kept. Raises UnknownTaskError, which lists those that there are."""
    known = names(state)
    if task not in known:
        there = f"it has {', '.join(known)}" if known else "it has none yet"
        raise UnknownTaskError(f"no task {task[:40]!r} is kept in {state}: {there}")
    return root_of(state, task)


def meant(state: Path, task: str | None) -> Path:
    """The folder of the task that a person means, who named `task` or none: then it is `default`.

    Raises UnknownTaskError where the one that is named is not there, or none was and others have learnt than `default`;
    ConfigError for what is no name, StateError where a renaming waits to be completed.
    """
    check_whole(state)
    if task is not None:
        return existing(state, checked(task))
    known = names(state)
    if known not in ([], [DEFAULT_TASK]) and not has_learnt(state, DEFAULT_TASK):
        raise UnknownTaskError(f"say with --task which is meant of the tasks in {state}: {', '.join(known)}")
    return state


def meant_to_learn(state: Path, task: str | None, *, new: bool = False) -> Path:
    """As `meant`, but a task that is named may begin; one whose name is like that of another only if it is to be `new`.

    Raises as `meant`.
    """
    if task is None or checked(task) in (known := names(state)):
        return meant(state, task)
    check_whole(state)
    if not new and (alike := Labels(known).alike(task)) is not None:
        raise UnknownTaskError(f"no task {task!r} is kept in {state}: did you mean {alike!r}? For a new one --new-task")
    return root_of(state, task)


def has_learnt(state: Path, task: str) -> bool:
    """Whether there is more of a task than what it begins with: a backbone, and an empty cache."""
    root = root_of(state, task)
    if task == DEFAULT_TASK:
        found = [part for part in PARTS if (root / part).exists()]
    else:
        found = [path.name for path in root.glob("[!.]*")]
    return bool(set(found).difference(BEGUN)) or any(any(root.glob(each)) for each in ("cache/*.seg", "heads/[!.]*"))


def left_over(state: Path, configured: Collection[str]) -> list[str]:
    """The tasks that have learnt and are none of those that are configured."""
    return [name for name in names(state) if name not in configured and has_learnt(state, name)]


def left_over_words(name: str) -> str:
    """Of one of those, for people."""
    return (
        f"the task {name} has learnt and is not configured: nothing of it is lost, and nobody is asked of it; if it is "
        f"called something else now, stop the service and type `lastlayer tasks rename {name} NEW`"
    )


def way(state: Path, old: str, new: str) -> Path:
    """Where the parts of a task are that is being renamed, to or from `default`."""
    return state / FOLDER / f".{old}.{new}"


def on_its_way(state: Path) -> tuple[str, str] | None:
    """The old and the new name of a task of which a renaming has ended half-way."""
    found = (_ON_ITS_WAY.fullmatch(path.name) for path in (state / FOLDER).glob(".*"))
    return next(((match[1], match[2]) for match in found if match), None)


def check_whole(state: Path) -> None:
    """Raises StateError where a renaming has ended half-way: parts of a task are where nobody looks for them."""
    halfway = on_its_way(state)
    if halfway is not None:
        old, new = halfway
        raise StateError(
            f"{state}: the renaming of the task {old} to {new} has ended half-way, and nothing is lost: "
            f"`lastlayer --state {state} tasks rename {old} {new}` completes it"
        )
