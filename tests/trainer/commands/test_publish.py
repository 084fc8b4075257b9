"""Whose head is sent."""

import shutil
from pathlib import Path

import pytest

from trainer.cli import main

NOBODY = "http://127.0.0.1:1"
NOT_REACHED = 7


def test_of_a_state_with_several_tasks_the_head_of_the_named_one_is_sent(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = tmp_path / "board"
    shutil.copytree(state, board / "tasks" / "gate")
    shutil.copytree(state, board / "tasks" / "spaces", ignore=shutil.ignore_patterns("heads"))
    assert main(["publish", "head", str(board), NOBODY]) == 3
    assert f"say with --task which is meant of the tasks in {board}: gate, spaces" in capsys.readouterr().err
    assert main(["publish", "head", str(board), NOBODY, "--task", "spaces"]) == 5
    assert f"{board / 'tasks' / 'spaces'} has no head yet" in capsys.readouterr().err
    assert main(["publish", "head", str(board), NOBODY, "--task", "gate"]) == NOT_REACHED


def test_the_head_of_a_collected_state_goes_to_any_task(state: Path) -> None:
    assert main(["publish", "head", str(state), NOBODY, "--task", "gate"]) == NOT_REACHED
