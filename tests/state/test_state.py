"""A new task takes its backbone from one that has it."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from agent.state import generations
from agent.state.arrivals import take_backbone
from agent.state.renaming import rename
from agent.state.state import State, open_state
from agent.state.tasks import root_of
from agent.vision.bundle import load_bundle

NETWORKS = Path(__file__).parents[1] / "vision" / "networks"
UINT8, INT8 = (str(NETWORKS / f"mean_{kind}.tflite") for kind in ("uint8", "int8"))


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    """The folder of a bundle."""
    return str(open_state(tmp_path / "elsewhere", UINT8).bundle.model.parent)


def files(state: State) -> list[int]:
    return [path.stat().st_ino for path in sorted((state.folder / "backbone").iterdir())]


def test_the_same_backbone_of_several_tasks_lies_on_flash_once(bundle: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = open_state(state, bundle)
    gate, front = (open_state(root_of(state, name), bundle) for name in ("gate", "front"))
    assert files(first) == files(gate) == files(front)
    assert gate.bundle == load_bundle(state / "tasks" / "gate" / "backbone")
    assert sorted(path.name for path in gate.folder.iterdir()) == ["backbone"]


def test_that_of_a_later_generation_is_shared_too_and_another_is_not(bundle: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = open_state(state, INT8)
    name = take_backbone(state, bundle)
    gate = open_state(root_of(state, "gate"), bundle)
    assert files(gate) == files(State(generations.folder_of(state, name), gate.bundle))
    brighter = open_state(root_of(state, "brighter"), bundle, (0.0, 2.0))
    sized = open_state(root_of(state, "sized"), bundle, size=(gate.bundle.height, gate.bundle.width))
    assert set(files(brighter) + files(sized)).isdisjoint(files(gate))
    assert set(files(open_state(root_of(state, "bare"), INT8))).isdisjoint(files(first))


def test_what_one_of_them_does_with_its_backbone_is_nothing_to_the_other(bundle: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    roots = [root_of(state, name) for name in ("gate", "front")]
    _, front = (open_state(root, bundle) for root in roots)
    before = {path: path.read_bytes() for path in roots[1].rglob("*") if path.is_file()}
    name = take_backbone(roots[0], INT8)
    generations.use(roots[0], name)
    assert generations.in_use(roots[1]) == generations.FIRST
    generations.rollback(roots[0])
    rename(state, "gate", "default")
    shutil.rmtree(state / "backbone")
    assert {path: path.read_bytes() for path in roots[1].rglob("*") if path.is_file()} == before
    assert load_bundle(front.folder / "backbone") == front.bundle


def test_where_no_link_can_be_made_it_is_copied(bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    first = open_state(tmp_path / "state", bundle)
    gate = open_state(root_of(tmp_path / "state", "gate"), bundle)
    assert set(files(gate)).isdisjoint(files(first))
    assert gate.bundle.sha256 == first.bundle.sha256
    assert sorted(path.name for path in gate.folder.iterdir()) == ["backbone"]


def test_a_damaged_one_is_not_shared(bundle: str, tmp_path: Path) -> None:
    first = open_state(tmp_path / "state", bundle)
    first.bundle.model.write_bytes(b"rotten")
    assert open_state(root_of(tmp_path / "state", "gate"), bundle).bundle.model.stat().st_nlink == 1
