"""A task gets another name, as it got one in the configuration, and keeps all that it has learnt.

Its folder is renamed. Where one of both is `default`, whose parts lie in the state beside what is no task's, they go
one by one, by way of STATE/tasks/.OLD.NEW/: however it ends, each part is whole in one place or the other, no task of
the state is opened as long as that folder is there (tasks.check_whole), and the same renaming goes on where it ended.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from agent.board.files import sync_folder
from agent.cache.opening import locked
from agent.errors import BusyError, ConfigError, StateError
from agent.records import DEFAULT_TASK
from agent.state import tasks


def rename(state: Path, old: str, new: str) -> None:
    """Call a task something else. One of the new name that was begun and has learnt nothing gives way.

    Raises ConfigError where the new name can be none or its task has learnt, UnknownTaskError for an old one that is
    not there, BusyError while somebody writes one of both, StateError where flash refuses.
    """
    if tasks.checked(new) == tasks.checked(old):
        raise ConfigError(f"the task is called {new} already")
    way = tasks.way(state, old, new)
    half_way = way.is_dir()
    if not half_way:
        tasks.check_whole(state)
        tasks.existing(state, old)
    roots = [tasks.root_of(state, old), way, tasks.root_of(state, new)]
    try:
        with _alone(roots):
            if not half_way:
                _remove_begun(state, new)
            if DEFAULT_TASK in (old, new):
                _move(state, old, new)
            else:
                roots[0].rename(roots[-1])
                sync_folder(state / tasks.FOLDER)
    except StateError:
        raise
    except OSError as error:
        raise StateError(f"{error.filename or state} cannot be moved: {error.strerror or error}") from error


@contextmanager
def _alone(roots: Iterable[Path]) -> Iterator[None]:
    """With the locks of all caches of these tasks, whichever generation they are of; they go with the files."""
    with ExitStack() as held:
        for root in roots:
            for cache in (root / "cache", *root.glob("generations/*/cache")):
                if cache.is_dir():
                    try:
                        held.callback(os.close, locked(cache / "lock"))
                    except BusyError as error:
                        raise BusyError(
                            f"{cache} is in use: stop the service first (systemctl stop lastlayer), or wait for the "
                            "command that writes it"
                        ) from error
        yield


def _remove_begun(state: Path, new: str) -> None:
    """What is there of the new one: the service begins every task that its configuration names."""
    if tasks.has_learnt(state, new):
        raise ConfigError(
            f"there is a task {new} in {state} already, which has learnt: rename that one first, or choose another name"
        )
    root, aside = tasks.root_of(state, new), state / tasks.FOLDER / ".begun"
    shutil.rmtree(aside, ignore_errors=True)
    if new == DEFAULT_TASK:
        aside.mkdir(parents=True)
        for part in tasks.BEGUN:
            if (root / part).exists():
                (root / part).rename(aside / part)
    elif root.exists():
        root.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _move(state: Path, old: str, new: str) -> None:
    """The parts of the state into a task's folder, or those of such a folder into the state."""
    way, folder = tasks.way(state, old, new), state / tasks.FOLDER
    if new == DEFAULT_TASK:
        source, target = way, state
        begins_at = way if way.is_dir() else tasks.root_of(state, old)
        parts = sorted((path.name for path in begins_at.iterdir()), key=lambda name: (name == tasks.PARTS[0], name))
    else:
        source, target, begins_at = state, way, state
        parts = [part for part in tasks.PARTS if (state / part).exists()]
    for part in parts:
        _check(begins_at / part, target / part)
    if begins_at != source:
        begins_at.rename(way)
    way.mkdir(parents=True, exist_ok=True)
    for at in (state, folder):  # the folder is there for good before anything is in it
        sync_folder(at)
    for part in parts:
        (source / part).rename(target / part)
    for at in (target, source):  # in the new place before they leave the old one
        sync_folder(at)
    if new == DEFAULT_TASK:
        way.rmdir()
    else:
        way.rename(tasks.root_of(state, new))
    sync_folder(folder)


def _check(part: Path, goal: Path) -> None:
    """Raises StateError where a part cannot be moved, before any has been."""
    if goal.exists():
        raise StateError(f"{goal} is in the way of {part}: move one of them elsewhere, and type it again")
    if part.is_mount():
        raise StateError(f"{part} is a file system of its own: unmount it, and move what it holds by hand")
