"""A daemon that is asked several questions: real processes, HTTP and flash."""

import io
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.conftest import crops
from tests.daemon import PATIENCE_S, Daemon, lastlayer
from tests.mosquitto import Listener, Mosquitto
from tests.waiting import until

LEFT, RIGHT = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 0.5, 1.0]
TASKS: dict[str, Any] = {
    "left": {"views": [{"camera": "yard", "region": LEFT}]},
    "spaces": {
        "views": [
            {"camera": "yard", "name": "west", "region": LEFT},
            {"camera": "yard", "name": "east", "region": RIGHT},
        ]
    },
    "feeder": {"views": [{"camera": "feeder"}]},
}


def side_by_side(left: bytes, right: bytes) -> bytes:
    """One frame of a camera that sees both."""
    frame = Image.new("RGB", (640, 320))
    for at, payload in enumerate((left, right)):
        frame.paste(Image.open(io.BytesIO(payload)).resize((320, 320)), (320 * at, 0))
    file = io.BytesIO()
    frame.save(file, "JPEG", quality=92)
    return file.getvalue()


@pytest.fixture(scope="module")
def frames(photographs: list[np.ndarray]) -> list[tuple[str, str, bytes]]:
    """What is to be seen left, and right, and the frame."""
    pictures = {
        label: crops(pixels, 60, seed=3) for label, pixels in zip(("china", "flower"), photographs, strict=True)
    }
    chosen = random.Random(0)
    return [
        (left, right, side_by_side(chosen.choice(pictures[left]), chosen.choice(pictures[right])))
        for left, right in (chosen.choices(("china", "flower"), k=2) for _ in range(40))
    ]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path / "state", {"tasks": TASKS}) as daemon:
        yield daemon


def teach(daemon: Daemon, frames: list[tuple[str, str, bytes]]) -> None:
    """The task `spaces`, by its two views, and retrain it."""
    for left, right, frame in frames:
        frame_id = daemon.ask("POST", "/v1/frames?camera=yard&task=spaces", frame)["frame_id"]
        for view, label in (("west", left), ("east", right)):
            daemon.ask("POST", f"/v1/frames/{frame_id}/label?task=spaces&view={view}", {"label": label})
    daemon.ask("POST", "/v1/retrain?task=spaces", expect=202)
    until(lambda: daemon.ask("GET", "/v1/retrain?task=spaces")["state"] == "done", PATIENCE_S)


def said(results: list[dict[str, Any]]) -> dict[str, str]:
    """The best label of each view."""
    return {
        f"{each['task']}/{each['view']}": each["predictions"][0]["label"] for each in results if not each["unknown"]
    }


def test_each_view_of_a_frame_gets_its_answer_and_learns_for_itself(
    tmp_path: Path, frames: list[tuple[str, str, bytes]]
) -> None:
    state = tmp_path / "state"
    with Daemon(state, {"tasks": TASKS}) as daemon:
        teach(daemon, frames[:30])
        right = 0
        for left, of_right, frame in frames[30:]:
            reply = daemon.ask("POST", "/v1/frames?camera=yard", frame)
            assert [(each["task"], each["view"]) for each in reply["results"]] == [
                ("left", "yard"),
                ("spaces", "west"),
                ("spaces", "east"),
            ]
            assert {each["frame_id"] for each in reply["results"]} == {reply["frame_id"]}
            assert reply["results"][0]["unknown"], "nobody has taught it"
            right += said(reply["results"]) == {"spaces/west": left, "spaces/east": of_right}
        assert right >= 9
        status = daemon.ask("GET", "/v1/status")
        assert "head" not in status
        assert status["examples"] == 60
        spaces, left_task = status["tasks"]["spaces"], status["tasks"]["left"]
        assert (spaces["examples"], spaces["head"], left_task["examples"], left_task["head"]) == (60, "1", 0, None)
        assert daemon.ask("GET", "/v1/tasks")["tasks"] == status["tasks"]
        assert spaces["views"][1] == {"name": "east", "camera": "yard", "region": RIGHT, "rotate": 0}
        counts = {report["phase"]: report["count"] for report in daemon.ask("GET", "/v1/timings")["phases"]}
        assert counts["decode"] == 40
        assert counts["bottleneck"] == 60 + 20, "two views want the same of one backbone"
        daemon.kill()
    assert {path.name for path in (state / "tasks").iterdir()} == {*TASKS}
    assert not (state / "cache").exists()
    with Daemon(state, {"tasks": TASKS}) as daemon:
        assert daemon.ask("GET", "/v1/status")["tasks"]["spaces"]["head"] == "1"
    listed = json.loads(lastlayer("--state", state / "tasks" / "spaces", "heads", "--json").stdout)
    assert listed["active"] == "1"


def test_one_view_alone_is_answered_as_on_a_board_with_one_task(
    daemon: Daemon, frames: list[tuple[str, str, bytes]]
) -> None:
    _, _, frame = frames[0]
    for query in (
        "camera=feeder",
        "camera=yard&task=left",
        "camera=yard&task=spaces&view=east",
        "camera=yard&view=west",
    ):
        result = daemon.ask("POST", f"/v1/frames?{query}", frame)
        assert "results" not in result
        assert result["unknown"]
    assert daemon.ask("POST", "/v1/frames?camera=feeder&top=1", frame)["view"] == "feeder"
    listed = daemon.ask("GET", "/v1/frames")["frames"]
    assert len(listed) == 1, "the same picture is one frame"


def test_a_label_says_which_task_and_view_it_means_where_it_must(
    daemon: Daemon, frames: list[tuple[str, str, bytes]]
) -> None:
    _, _, frame = frames[0]
    refused = daemon.ask("POST", "/v1/frames?camera=yard&label=open", frame, expect=400)["error"]
    assert "task=left, view=yard" in refused
    assert "task=spaces, view=east" in refused
    assert (
        "say which" in daemon.ask("POST", "/v1/frames?camera=yard&label=open&task=spaces", frame, expect=400)["error"]
    )
    assert daemon.ask("GET", "/v1/status")["examples"] == 0
    assert daemon.ask("GET", "/v1/status")["frames"] == 0, "nothing was classified for nothing"
    daemon.ask("POST", "/v1/frames?camera=yard&label=open&task=left", frame)
    daemon.ask("POST", "/v1/frames?camera=feeder&label=cat", frames[1][2])

    frame_id = daemon.ask("POST", "/v1/frames?camera=yard", frames[2][2])["frame_id"]
    path = f"/v1/frames/{frame_id}/label"
    assert "say which with task: left, spaces" in daemon.ask("POST", path, {"label": "x"}, expect=400)["error"]
    assert "west, east" in daemon.ask("POST", f"{path}?task=spaces", {"label": "x"}, expect=400)["error"]
    assert "left, spaces did" in daemon.ask("POST", f"{path}?task=feeder", {"label": "x"}, expect=404)["error"]
    assert "west, east" in daemon.ask("POST", f"{path}?task=spaces&view=north", {"label": "x"}, expect=404)["error"]
    assert "no task 'gaet'" in daemon.ask("POST", f"{path}?task=gaet", {"label": "x"}, expect=404)["error"]
    daemon.ask("POST", f"{path}?task=spaces&view=east", {"label": "taken"})
    alone = daemon.ask("POST", "/v1/frames?camera=feeder", frames[3][2])["frame_id"]
    daemon.ask("POST", f"/v1/frames/{alone}/label", {"label": "cat"})
    labels = {name: task["labels"] for name, task in daemon.ask("GET", "/v1/tasks")["tasks"].items()}
    assert labels == {"left": {"open": 1}, "spaces": {"taken": 1}, "feeder": {"cat": 2}}

    assert daemon.ask("DELETE", f"/v1/frames/{frame_id}") == {"frame_id": frame_id, "examples_deleted": 1}
    assert daemon.ask("GET", "/v1/tasks")["tasks"]["spaces"]["examples"] == 0


def test_an_example_can_be_relabelled_by_its_frame_long_after(
    tmp_path: Path, frames: list[tuple[str, str, bytes]]
) -> None:
    _, _, frame = frames[0]
    with Daemon(tmp_path / "state", {"tasks": TASKS}) as daemon:
        frame_id = daemon.ask("POST", "/v1/frames?camera=yard&label=free&task=spaces&view=east", frame)["frame_id"]
    with Daemon(tmp_path / "state", {"tasks": TASKS}) as daemon:
        daemon.ask("POST", f"/v1/frames/{frame_id}/label", {"label": "taken"})
        assert daemon.ask("GET", "/v1/tasks")["tasks"]["spaces"]["labels"] == {"taken": 1}


def test_what_is_of_one_task_must_name_it_where_there_are_several(daemon: Daemon) -> None:
    for method, path in [
        ("POST", "/v1/retrain"),
        ("GET", "/v1/retrain"),
        ("GET", "/v1/heads"),
        ("POST", "/v1/heads/rollback"),
        ("GET", "/v1/examples"),
        ("GET", "/v1/models"),
        ("DELETE", "/v1/labels/cat"),
    ]:
        assert "left, spaces, feeder" in daemon.ask(method, path, expect=400)["error"]
        assert "left, spaces, feeder" in daemon.ask(method, f"{path}?task=nobody", expect=404)["error"]
    assert daemon.ask("GET", "/v1/heads?task=left") == {"active": None, "heads": []}


def test_a_frame_that_nobody_looks_at_is_refused_and_counted(
    daemon: Daemon, frames: list[tuple[str, str, bytes]]
) -> None:
    _, _, frame = frames[0]
    refused = daemon.ask("POST", "/v1/frames?camera=attic", frame, expect=404)["error"]
    assert "no task looks at frames of the camera 'attic'" in refused
    assert "'yard', 'feeder'" in refused
    assert "without the name of a camera" in daemon.ask("POST", "/v1/frames", frame, expect=404)["error"]
    daemon.ask("POST", "/v1/frames?camera=yard&task=feeder", frame, expect=404)
    assert daemon.ask("GET", "/v1/status")["sources"]["http"]["ignored"] == 3


def test_frames_without_a_camera_go_to_tasks_that_name_none(
    tmp_path: Path, frames: list[tuple[str, str, bytes]]
) -> None:
    tasks = {"gate": {"views": [{"camera": "yard"}]}, "light": {}, "corner": {"views": [{"region": LEFT}]}}
    with Daemon(tmp_path / "state", {"tasks": tasks}) as daemon:

        def asked(query: str) -> list[str]:
            reply = daemon.ask("POST", f"/v1/frames{query}", frames[0][2])
            return [f"{each['task']}/{each['view']}" for each in reply["results"]]

        assert asked("") == ["light/", "corner/"]
        assert asked("?camera=yard") == ["gate/yard", "light/yard", "corner/yard"]


def test_what_shows_nothing_new_is_passed_by_and_counted(
    tmp_path: Path, frames: list[tuple[str, str, bytes]], mosquitto: Mosquitto
) -> None:
    tasks = {"spaces": {"views": [{"camera": "yard", "skip_unchanged": 0.05, "skip_at_most_s": 3600}]}}
    config = {"tasks": tasks, "mqtt": {"host": "127.0.0.1", "port": mosquitto.port, "node": "board"}}
    still, other = frames[0][2], frames[1][2]
    with Listener(mosquitto) as listener, Daemon(tmp_path / "state", config) as daemon:
        listener.wait_for("lastlayer/board/availability", lambda payload: payload == "online")
        first = daemon.ask("POST", "/v1/frames?camera=yard", still)
        # The same picture, saved worse: its bytes are others.
        file = io.BytesIO()
        Image.open(io.BytesIO(still)).save(file, "JPEG", quality=70)
        second = daemon.ask("POST", "/v1/frames?camera=yard", file.getvalue())
        assert (second["frame_id"], second["skipped"]) == (first["frame_id"], True)
        assert "skipped" not in daemon.ask("POST", "/v1/frames?camera=yard", other)
        assert "skipped" not in daemon.ask("POST", "/v1/frames?camera=yard&label=free", other)
        status = daemon.ask("GET", "/v1/status")
        assert (status["frames"], status["skipped"]) == (3, 1)
        frame_id = daemon.ask("POST", "/v1/frames?camera=yard", frames[2][2])["frame_id"]
        results = listener.wait_for("lastlayer/board/result", lambda payload: payload["frame_id"] == frame_id)
        assert len(results) == 1


def test_a_backbone_is_loaded_once_for_all_tasks_that_use_it(
    tmp_path: Path, frames: list[tuple[str, str, bytes]]
) -> None:
    tasks = {"gate": {}, "spaces": {}, "feeder": {"backbone": "small"}}
    with Daemon(tmp_path / "state", {"tasks": tasks, "backbone": "standard"}) as daemon:
        reply = daemon.ask("POST", "/v1/frames", frames[0][2])
        assert len(reply["results"]) == 3
        models = {name: task["backbone"] for name, task in daemon.ask("GET", "/v1/tasks")["tasks"].items()}
        assert models == {"gate": "standard", "spaces": "standard", "feeder": "small"}
        counts = {report["phase"]: report["count"] for report in daemon.ask("GET", "/v1/timings")["phases"]}
        assert counts["bottleneck"] == 2
    maps = tmp_path / "state" / "tasks"
    assert {path.name for path in maps.iterdir()} == {*tasks}


def test_a_state_of_a_board_without_tasks_is_its_task_default(state: Path, photographs: list[np.ndarray]) -> None:
    (payload,) = crops(photographs[0], 1, seed=5)
    with Daemon(state) as daemon:
        assert "task" not in daemon.ask("POST", "/v1/frames", payload)
        before = daemon.ask("GET", "/v1/status")
    with Daemon(state, {"tasks": {"default": {}, "gate": {"views": [{"camera": "yard"}]}}}) as daemon:
        reply = daemon.ask("POST", "/v1/frames", payload)
        assert (reply["task"], reply["predictions"][0]["label"]) == ("default", "china")
        default = daemon.ask("GET", "/v1/status")["tasks"]["default"]
        assert (default["examples"], default["head"]) == (before["examples"], before["head"])


def test_a_backbone_of_one_task_that_cannot_be_used_any_more_is_left_for_the_one_before(
    tmp_path: Path, frames: list[tuple[str, str, bytes]]
) -> None:
    state = tmp_path / "state"
    tasks: dict[str, Any] = {"gate": {}, "spaces": {}}
    with Daemon(state, {"tasks": tasks}) as daemon:
        daemon.ask("POST", "/v1/frames?task=gate&label=open", frames[0][2])
        lastlayer("--state", state / "tasks" / "gate", "models", "import", "small", "--use")

        def begun_anew() -> bool:
            with suppress(ConnectionError):
                return bool(daemon.ask("GET", "/v1/tasks")["tasks"]["gate"]["backbone"] == "small")
            return False

        until(begun_anew, PATIENCE_S)
        assert daemon.ask("GET", "/v1/tasks")["tasks"]["spaces"]["backbone"] == "standard"
    (model,) = (state / "tasks" / "gate" / "generations").glob("*/backbone/*.tflite")
    model.chmod(0o644)
    model.write_bytes(model.read_bytes()[:1000])
    with Daemon(state, {"tasks": tasks}) as daemon:
        gate = daemon.ask("GET", "/v1/tasks")["tasks"]["gate"]
        assert (gate["backbone"], gate["labels"]) == ("standard", {"open": 1})
        assert "returning to the backbone before it" in daemon.log


def test_a_task_that_was_renamed_in_the_configuration_is_told_with_the_command_that_brings_it_over(
    tmp_path: Path, frames: list[tuple[str, str, bytes]]
) -> None:
    state = tmp_path / "state"
    with Daemon(state, {"tasks": {"gate": {}}}) as daemon:
        daemon.ask("POST", "/v1/frames?label=open", frames[0][2])
    with Daemon(state, {"tasks": {"door": {}}}) as daemon:
        assert "lastlayer tasks rename gate NEW" in daemon.log
        assert daemon.ask("GET", "/v1/status")["examples"] == 0
        refused = lastlayer("--state", state, "tasks", "rename", "gate", "door", expect=5).stderr
        assert "stop the service" in refused
    with Daemon(state, {"tasks": {"other": {}}}):
        lastlayer("--state", state, "tasks", "rename", "gate", "entrance")
    with Daemon(state, {"tasks": {"entrance": {}}}) as daemon:
        assert daemon.ask("GET", "/v1/tasks")["tasks"]["entrance"]["labels"] == {"open": 1}


def test_an_example_of_a_view_goes_by_its_frame_from_the_command_line_too(
    tmp_path: Path, frames: list[tuple[str, str, bytes]]
) -> None:
    state, (_, _, frame) = tmp_path / "state", frames[0]
    with Daemon(state, {"tasks": TASKS}) as daemon:
        frame_id = daemon.ask("POST", "/v1/frames?camera=yard&label=free&task=spaces&view=east", frame)["frame_id"]
    words = ("--state", state, "--task", "spaces", "cache", "delete", "--frame", frame_id)
    lastlayer(*words, expect=3)
    lastlayer(*words, "--view", "west", "--config", tmp_path / "state.yaml", expect=3)
    assert "1 examples" in lastlayer(*words, "--view", "east", "--config", tmp_path / "state.yaml").stdout


def test_a_daemon_retrains_its_tasks_one_after_another_and_stops_in_time(
    state: Path, tmp_path: Path, mosquitto: Mosquitto
) -> None:
    root, names = tmp_path / "board", ("gate", "spaces", "feeder", "attic")
    for name in names:
        shutil.copytree(state, root / "tasks" / name)
    config = {
        "tasks": {name: {} for name in names},
        "retrain": {"solver": "adam", "steps": 10_000_000},
        "mqtt": {"host": mosquitto.host, "port": mosquitto.port, "node": "board"},
    }

    def retrain(method: str, name: str, expect: int = 200) -> Any:
        return board.ask(method, f"/v1/retrain?task={name}", expect=expect)

    with Listener(mosquitto) as listener, Daemon(root, config) as board:

        def wait_running(name: str) -> psutil.Process:
            """The one child, once it makes steps for that task."""
            until(lambda: retrain("GET", name).get("step"), PATIENCE_S)
            (child,) = psutil.Process(board.process.pid).children()
            assert str(root / "tasks" / name) in child.cmdline()
            return child

        began = [retrain("POST", name, expect=202)["state"] for name in names]
        assert began == ["running", "queued", "queued", "queued"]
        wait_running("gate")
        assert "queued already" in retrain("POST", "attic", expect=409)["error"]
        assert board.ask("GET", "/v1/status")["tasks"]["attic"]["retrain"] == "queued"
        listener.wait_for("lastlayer/board/retrain", lambda said: said["state"] == "queued", count=3)
        assert retrain("DELETE", "spaces")["state"] == "cancelled"
        os.kill(wait_running("gate").pid, signal.SIGKILL)
        wait_running("feeder")
        assert retrain("GET", "gate")["state"] == "failed"
        assert retrain("POST", "gate", expect=202)["state"] == "queued"
        assert retrain("POST", "spaces", expect=202)["state"] == "queued"
        child = wait_running("feeder")
        began_s = time.monotonic()
        assert board.stop(PATIENCE_S) == 0
        assert time.monotonic() - began_s < 5
        assert not child.is_running()
        assert "Traceback" not in board.log
