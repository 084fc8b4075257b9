"""Which head of a state is measured."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("distributed", reason="the trainer extra is not installed")

from tests.conftest import write_class_folders
from tests.daemon import ROOT, lastlayer, trainer

NETWORKS = ROOT / "tests" / "vision" / "networks"


@pytest.fixture
def pictures(photographs: list[np.ndarray], tmp_path: Path) -> Path:
    return write_class_folders(tmp_path / "pictures", photographs, 3)


@pytest.fixture
def board(state: Path, tmp_path: Path) -> Path:
    """The state of a board that has two tasks: spaces has no head."""
    board = tmp_path / "board"
    shutil.copytree(state, board / "tasks" / "gate")
    shutil.copytree(state, board / "tasks" / "spaces", ignore=shutil.ignore_patterns("heads"))
    return board


def test_the_head_of_a_task_is_measured(board: Path, pictures: Path) -> None:
    said = trainer("evaluate", pictures, "--state", board, "--task", "gate", "--workers", 1, "--json").stdout
    assert (json.loads(said)["top1"], json.loads(said)["images"]) == (1.0, 6)
    complaint = trainer("evaluate", pictures, "--state", board, "--task", "spaces", expect=5).stderr
    assert f"{board / 'tasks' / 'spaces'} has no head yet" in complaint


def test_which_of_several_tasks_is_meant_must_be_said(board: Path, pictures: Path) -> None:
    said = trainer("evaluate", pictures, "--state", board, expect=3).stderr
    assert f"say with --task which is meant of the tasks in {board}: gate, spaces" in said
    missing = trainer("evaluate", pictures, "--state", board, "--task", "feeder", expect=3).stderr
    assert f"no task 'feeder' is kept in {board}: it has gate, spaces" in missing
    assert "can be no task's name" in trainer("evaluate", pictures, "--state", board, "--task", "../x", expect=2).stderr


def test_a_state_without_tasks_is_that_of_the_task_default(state: Path, pictures: Path) -> None:
    measured = [
        json.loads(trainer("evaluate", pictures, "--state", state, *words, "--workers", 1, "--json").stdout)["top1"]
        for words in ([], ["--task", "default"])
    ]
    assert measured == [1.0, 1.0]


def test_a_head_by_itself_is_of_no_task(state: Path, pictures: Path) -> None:
    words = ("--head", state / "heads" / "1" / "head.npz", "--task", "gate")
    assert "--task is of a --state" in trainer("evaluate", pictures, *words, expect=2).stderr


def test_the_head_of_a_later_backbone_is_measured_with_it(state: Path, pictures: Path) -> None:
    lastlayer("--state", state, "models", "import", NETWORKS / "mean_uint8.tflite", "--use")
    lastlayer("--state", state, "learn", pictures)
    lastlayer("--state", state, "retrain")
    said = trainer("evaluate", pictures, "--state", state, "--workers", 1, "--json").stdout
    assert json.loads(said)["backbone"] == "mean_uint8"
