"""Several tasks of one state, as they are typed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import write_class_folders
from tests.daemon import Daemon, lastlayer


def as_json(*words: object, expect: int = 0) -> Any:
    return json.loads(lastlayer(*words, "--json", expect=expect).stdout)


@pytest.fixture
def pictures(tmp_path: Path, photographs: list[np.ndarray]) -> Path:
    return write_class_folders(tmp_path / "pictures", photographs, 6)


def test_each_task_has_its_own_examples_and_heads(tmp_path: Path, pictures: Path) -> None:
    state = tmp_path / "state"
    said = lastlayer("--state", state, "learn", "--task", "gate", pictures)
    assert f"new task gate in {state / 'tasks' / 'gate'}" in said.stderr
    (pictures / "china").rename(pictures / "left")
    (pictures / "flower").rename(pictures / "right")
    assert "new task" in lastlayer("--state", state, "--task", "spaces", "learn", pictures).stderr
    assert lastlayer("--state", state, "--task", "spaces", "learn", pictures).stderr == ""
    one = pictures / "left" / "000.jpg"
    for task, labels in (("gate", ["china", "flower"]), ("spaces", ["left", "right"])):
        assert as_json("--state", state, "--task", task, "retrain")["labels"] == labels
        assert as_json("--state", state, "classify", one, "--top", 1, "--task", task)["head"] == "1"
        assert list(as_json("--state", state, "cache", "stats", "--task", task)["labels"]) == labels
        assert as_json("--state", state, "heads", "show", "--task", task)["labels"] == labels
        assert as_json("--state", state, "models", "--task", task)["in_use"] == "first"
    assert as_json("--state", state, "--task", "spaces", "evaluate", pictures)["labels"] == ["left", "right"]
    listed = as_json("--state", state, "tasks")["tasks"]
    assert {name: (task["head"], task["examples"], task["labels"]) for name, task in listed.items()} == {
        "gate": ("1", 12, {"china": 6, "flower": 6}),
        "spaces": ("1", 12, {"left": 6, "right": 6}),
    }
    assert "gate    standard  12        2       1" in lastlayer("--state", state, "tasks").stdout
    assert [path.name for path in state.iterdir()] == ["tasks"]


def test_which_task_is_meant_must_be_clear(state: Path, pictures: Path) -> None:
    lastlayer("--state", state, "tasks", "rename", "default", "gate")
    one = pictures / "china" / "000.jpg"
    for words in (("retrain",), ("heads",), ("cache", "check"), ("models",), ("learn", pictures), ("classify", one)):
        said = lastlayer("--state", state, *words, expect=3).stderr
        assert said.endswith(f"say with --task which is meant of the tasks in {state}: gate\n")
    nowhere = lastlayer("--state", state, "evaluate", pictures, "--task", "door", expect=3).stderr
    assert nowhere.endswith(f"no task 'door' is kept in {state}: it has gate\n")
    assert "can be no task's name" in lastlayer("--state", state, "--task", "../x", "models", expect=2).stderr
    slip = lastlayer("--state", state, "learn", pictures, "--task", "gates", expect=3).stderr
    assert "did you mean 'gate'? For a new one --new-task" in slip
    lastlayer("--state", state, "learn", pictures, "--task", "gates", "--new-task")
    assert list(as_json("--state", state, "tasks")["tasks"]) == ["gate", "gates"]


@pytest.mark.parametrize("words", [("run",), ("doctor",), ("tasks",)])
def test_what_is_of_all_tasks_takes_none(words: tuple[str, ...], tmp_path: Path) -> None:
    for typed in (("--task", "gate", *words), (*words, "--task", "gate")):
        assert "--task" in lastlayer("--state", tmp_path / "state", *typed, expect=2).stderr
    assert "--task" not in lastlayer(*words, "--help").stdout


def test_a_task_that_the_service_began_gives_way_to_the_one_that_has_learnt(state: Path, pictures: Path) -> None:
    lastlayer("--state", state, "tasks", "rename", "default", "gate")
    with Daemon(state):
        began = as_json("--state", state, "tasks")["tasks"]
        assert "systemctl stop" in lastlayer("--state", state, "tasks", "rename", "gate", "default", expect=5).stderr
    assert [task["examples"] for task in began.values()] == [0, 80]
    assert as_json("--state", state, "tasks", "rename", "gate", "default") == {"renamed": "gate", "task": "default"}
    with Daemon(state) as daemon:
        assert daemon.ask("GET", "/v1/status")["head"] == "1"


def test_no_tasks_yet_and_one_that_cannot_be_read_are_said(state: Path, tmp_path: Path) -> None:
    assert "holds no task yet" in lastlayer("--state", tmp_path / "none", "tasks").stdout
    assert as_json("--state", tmp_path / "none", "tasks") == {"tasks": {}}
    (state / "backbone" / "model.tflite").write_bytes(b"rotten")
    task = as_json("--state", state, "tasks")["tasks"]["default"]
    assert (task["head"], task["examples"], task["backbone"]) == ("1", 80, None)
    assert "sha256" in task["error"]
