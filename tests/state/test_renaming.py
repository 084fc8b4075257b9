"""A task is called something else, and whatever ends that, nothing of it is lost."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.board.files import sync_folder
from agent.errors import BusyError, ConfigError, LastlayerError, StateError, UnknownTaskError
from agent.state import renaming, tasks
from agent.state.renaming import rename
from agent.state.state import open_state
from tests.daemon import Daemon, lastlayer

PAIRS = [("gate", "default"), ("default", "gate"), ("gate", "front-gate")]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write_task(root: Path, word: str) -> dict[str, bytes]:
    """The files of a task that has learnt and has all that a task can have, each with a content of its own."""
    names = ["generation", "statistics", "training", "backbone/manifest.json", "backbone/model.tflite"]
    names += ["cache/00000001.seg", "cache/journal", "cache/lock", "heads/active", "heads/1/head.npz"]
    names += ["generations/small-1/backbone/model.tflite", "generations/small-1/cache/lock"]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("" if name.endswith("lock") else f"{word}: {name}")
    return {name: (root / name).read_bytes() for name in names}


def begin_task(root: Path) -> None:
    """What the service makes of a task that is new in its configuration."""
    for name in ("backbone/manifest.json", "backbone/model.tflite", "cache/journal", "cache/lock"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def board(folder: Path, old: str, new: str | None = None) -> dict[str, bytes]:
    """A state that holds a task `old`, another one, and what is no task's; the files of the first.

    `new` is begun as well.
    """
    learnt = write_task(tasks.root_of(folder, old), "learnt")
    write_task(tasks.root_of(folder, "feeder"), "another")
    (folder / "reports").mkdir()
    for name in ("reports/00000001.log", "announced"):
        (folder / name).write_text(name)
    if new is not None:
        begin_task(tasks.root_of(folder, new))
    return learnt


def others(folder: Path) -> dict[str, bytes]:
    return {
        path: content
        for path, content in tree(folder).items()
        if path.startswith(("tasks/feeder/", "reports/", "announced"))
    }


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_all_that_a_task_has_goes_with_it_and_nothing_else(old: str, new: str, begun: bool, tmp_path: Path) -> None:
    learnt = board(tmp_path, old, new if begun else None)
    before = others(tmp_path)
    rename(tmp_path, old, new)
    prefix = "" if new == "default" else f"tasks/{new}/"
    assert tree(tmp_path) == {**before, **{f"{prefix}{name}": content for name, content in learnt.items()}}
    assert tasks.names(tmp_path) == [*sorted({new, "feeder"})]


class Killed(BaseException):
    pass


class Killing:
    """Ends what it watches at the n-th step that changes a folder, before that or after it."""

    def __init__(self, at: int, after: bool) -> None:
        self.steps = 0
        self._at, self._after = at, after

    def __call__(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def changing(*words: Any, **options: Any) -> Any:
            self.steps += 1
            if self.steps == self._at and not self._after:
                raise Killed
            changed = change(*words, **options)
            if self.steps == self._at:
                raise Killed
            return changed

        return changing


def killed(state: Path, old: str, new: str, killing: Killing) -> bool:
    """Whether the renaming was ended."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("rename", "mkdir", "rmdir"):
            patch.setattr(Path, name, killing(getattr(Path, name)))
        patch.setattr(shutil, "rmtree", killing(shutil.rmtree))
        patch.setattr(renaming, "sync_folder", killing(sync_folder))
        try:
            rename(state, old, new)
        except Killed:
            return True
        return False


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_wherever_it_is_killed_nothing_is_lost_and_the_same_again_completes_it(
    old: str, new: str, begun: bool, after: bool, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    learnt = board(whole, old, new if begun else None)
    rename(whole, old, new)
    ended = 0
    while True:
        state = tmp_path / f"killed {ended}"
        board(state, old, new if begun else None)
        if not killed(state, old, new, Killing(ended + 1, after)):
            break
        ended += 1
        left = sorted(tree(state).values())
        for content in learnt.values():
            left.remove(content)  # which must be there
        for name in (old, new):  # nobody finds a half of it, nor begins anew in its place
            try:
                root = tasks.meant(state, name)
                assert not tasks.has_learnt(state, name) or learnt.items() <= tree(root).items()
            except LastlayerError as error:
                assert isinstance(error, UnknownTaskError) or f"tasks rename {old} {new}" in str(error)
        if tree(state) == tree(whole) and tasks.on_its_way(state) is None:
            with pytest.raises(UnknownTaskError):
                rename(state, old, new)  # it was done
        else:
            rename(state, old, new)
        assert tree(state) == tree(whole)
        hidden = [path for path in (state / "tasks").glob(".*") if any(path.iterdir())]
        assert hidden == []
    assert ended > (10 if "default" in (old, new) else 1)


def test_what_is_half_way_is_said_and_no_other_renaming_begins(tmp_path: Path) -> None:
    board(tmp_path, "default")
    assert killed(tmp_path, "default", "gate", Killing(6, after=True))
    for ask in (
        lambda: tasks.meant(tmp_path, None),
        lambda: tasks.meant(tmp_path, "feeder"),
        lambda: tasks.meant_to_learn(tmp_path, "gate"),
        lambda: open_state(tmp_path),
        lambda: open_state(tmp_path / "tasks" / "gate"),
        lambda: rename(tmp_path, "feeder", "door"),
        lambda: rename(tmp_path, "gate", "default"),
    ):
        with pytest.raises(StateError, match=f"`lastlayer --state {tmp_path} tasks rename default gate` completes it"):
            ask()
    rename(tmp_path, "default", "gate")
    assert tasks.meant(tmp_path, "gate") == tmp_path / "tasks" / "gate"


def test_a_part_that_lies_where_one_is_to_go_overwrites_nothing(tmp_path: Path) -> None:
    board(tmp_path, "gate")
    (tmp_path / "tasks" / "gate" / "reports").mkdir()
    before = tree(tmp_path)
    with pytest.raises(StateError, match="reports is in the way"):
        rename(tmp_path, "gate", "default")
    assert (tree(tmp_path), tasks.on_its_way(tmp_path)) == (before, None)
    (tmp_path / "tasks" / "gate" / "reports").rmdir()
    rename(tmp_path, "gate", "default")
    assert tasks.names(tmp_path) == ["default", "feeder"]


def test_a_part_on_another_file_system_is_seen_before_anything_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board(tmp_path, "default")
    before = tree(tmp_path)
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path / "cache")
    with pytest.raises(StateError, match="cache is a file system of its own"):
        rename(tmp_path, "default", "gate")
    assert (tree(tmp_path), tasks.on_its_way(tmp_path)) == (before, None)


@pytest.mark.parametrize("part", ["cache/00000001.seg", "heads/1/head.npz", "generations/small-1/x", "notes"])
def test_a_task_that_has_more_than_its_beginning_never_gives_way(part: str, tmp_path: Path) -> None:
    board(tmp_path, "gate", "front")
    file = tmp_path / "tasks" / "front" / part
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    before = tree(tmp_path)
    with pytest.raises(ConfigError, match="there is a task front in .* already, which has learnt"):
        rename(tmp_path, "gate", "front")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("part", ["generation", "statistics", "training"])
def test_nor_does_the_default_one(part: str, tmp_path: Path) -> None:
    board(tmp_path, "gate", "default")
    (tmp_path / part).touch()
    with pytest.raises(ConfigError, match="which has learnt"):
        rename(tmp_path, "gate", "default")
    with pytest.raises(ConfigError, match="already"):
        rename(tmp_path, "gate", "gate")


def test_names_that_cannot_be_are_refused(tmp_path: Path) -> None:
    board(tmp_path, "gate")
    before = tree(tmp_path)
    for new in ("", "a b", "../gate", ".hidden", "x" * 41, "gäte"):
        with pytest.raises(ConfigError, match="can be no task's name"):
            rename(tmp_path, "gate", new)
    with pytest.raises(UnknownTaskError, match="no task 'gat' is kept in .*: it has feeder, gate"):
        rename(tmp_path, "gat", "front")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("lock", ["cache/lock", "generations/small-1/cache/lock"])
@pytest.mark.parametrize("held", ["gate", "default"])
def test_nothing_moves_while_somebody_writes_one_of_both(held: str, lock: str, tmp_path: Path) -> None:
    board(tmp_path, "gate", "default")
    path = tasks.root_of(tmp_path, held) / lock
    path.parent.mkdir(parents=True, exist_ok=True)
    before = tree(tmp_path)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="stop the service first"):
            rename(tmp_path, "gate", "default")
    assert tree(tmp_path).items() >= before.items()


def test_a_head_that_was_trained_before_serves_under_every_name(state: Path, jpegs: list[bytes]) -> None:
    with Daemon(state) as daemon:
        before = [daemon.ask("POST", "/v1/frames", jpeg)["predictions"] for jpeg in jpegs]
        said = lastlayer("--state", state, "tasks", "rename", "default", "gate", expect=5).stderr
    assert "is in use: stop the service first" in said
    kept = tree(state)
    for old, new in (("default", "gate"), ("gate", "front"), ("front", "default")):
        lastlayer("--state", state, "tasks", "rename", old, new)
        if new != "default":
            lastlayer("--state", state, "--task", new, "cache", "check")
    assert tree(state) == kept
    with Daemon(state) as daemon:
        assert [daemon.ask("POST", "/v1/frames", jpeg)["predictions"] for jpeg in jpegs] == before
        assert daemon.ask("GET", "/v1/status")["examples"] == 80
        assert daemon.ask("POST", "/v1/frames?label=china", jpegs[0])["head"] == "1"
