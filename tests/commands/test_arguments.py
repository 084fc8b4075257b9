"""What several commands take: a view, by which whole frames are cut as the service cuts them."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.conftest import crops, encoded
from tests.daemon import Daemon, lastlayer

VIEWS = {
    "tasks": {
        "gate": {
            "views": [
                {"camera": "yard", "name": "left", "region": [0, 0, 0.5, 1]},
                {"camera": "yard", "name": "right", "region": [0.5, 0, 0.5, 1], "rotate": 180},
            ]
        },
        "feeder": {"views": [{"region": [0.5, 0, 0.5, 1]}]},
        "whole": {},
    }
}


def as_json(*words: object, expect: int = 0) -> Any:
    return json.loads(lastlayer(*words, "--json", expect=expect).stdout)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "views.yaml"
    file.write_text(yaml.safe_dump(VIEWS, sort_keys=False))
    return file


@pytest.fixture
def frames(tmp_path: Path, photographs: list[np.ndarray]) -> Path:
    """Class folders of whole frames: at the left is what the class says, at the right always the other one."""
    china, flower = (np.stack([pixels(each) for each in crops(photo, 12, 0)]) for photo in photographs)
    for label, left, right in (("china", china, flower), ("flower", flower, china)):
        (tmp_path / "frames" / label).mkdir(parents=True)
        for number, halves in enumerate(zip(left, right, strict=True)):
            (tmp_path / "frames" / label / f"{number:02d}.png").write_bytes(encoded(np.hstack(halves), "PNG"))
    return tmp_path / "frames"


def pixels(payload: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(payload)))


def test_frames_that_are_cut_by_a_view_are_learnt_measured_and_classified_as_it_sees_them(
    frames: Path, config: Path, tmp_path: Path, photographs: list[np.ndarray]
) -> None:
    gate = ("--state", tmp_path / "state", "--task", "gate", "--config", config)
    learnt = as_json(*gate[:4], "learn", frames, *gate[4:], "--view", "left")
    assert (learnt["added"], learnt["labels"]) == (24, {"china": 12, "flower": 12})
    lastlayer(*gate[:4], "retrain")
    assert as_json(*gate[:4], "evaluate", frames, *gate[4:], "--view", "left")["top1"] == 1.0
    assert as_json(*gate[:4], "evaluate", frames, *gate[4:], "--view", "right")["top1"] < 0.5
    whole = pixels((frames / "china" / "00.png").read_bytes())
    for view, half in (("left", whole[:, :160]), ("right", whole[::-1, ::-1][:, :160])):
        (tmp_path / "half.png").write_bytes(encoded(half, "PNG"))
        cut_out = as_json(*gate[:4], "classify", tmp_path / "half.png")["predictions"]
        seen = as_json(*gate[:4], "classify", frames / "china" / "00.png", *gate[4:], "--view", view)
        assert seen["predictions"] == cut_out


def test_a_frame_that_was_learnt_by_a_view_is_the_same_example_when_the_service_sees_it(
    frames: Path, config: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    for view, learnt in (("left", 24), ("right", 24), ("left", 0)):
        words = ("--state", state, "--task", "gate", "learn", frames, "--view", view, "--config", config)
        assert as_json(*words)["added"] == learnt
    lastlayer("--state", state, "--task", "feeder", "learn", frames, "--view", "whichever", "--config", config)
    frame = (frames / "china" / "03.png").read_bytes()
    with Daemon(state, VIEWS) as daemon:
        for path in ("task=gate&view=left", "task=gate&view=right", "task=feeder"):
            daemon.ask("POST", f"/v1/frames?camera=yard&label=china&{path}", frame)
        tasks = daemon.ask("GET", "/v1/tasks")["tasks"]
    assert [tasks[name]["examples"] for name in ("gate", "feeder")] == [48, 24]


def test_on_which_side_a_frame_fell_is_known_by_what_was_cut_out(frames: Path, config: Path, tmp_path: Path) -> None:
    gate = ("--state", tmp_path / "state", "--task", "gate")
    view = ("--view", "left", "--config", config)
    lastlayer(*gate, "learn", frames, *view)
    lastlayer(*gate, "retrain")
    labels = as_json(*gate, "cache", "stats")["labels"]
    for split in ("val", "test"):
        learnt = sum(counts[split] for counts in labels.values())
        if learnt:
            assert as_json(*gate, "evaluate", frames, "--split", split, *view)["images"] == learnt
        else:
            assert (
                "no readable pictures of the split"
                in lastlayer(*gate, "evaluate", frames, "--split", split, *view, expect=3).stderr
            )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--task", "gate", "--view", "lefft"), 3, "the task gate has no view 'lefft': it has left, right"),
        (("--task", "gates", "--view", "left"), 3, "names no task 'gates': it names gate, feeder, whole"),
        (("--view", "left"), 3, "names no task 'default': it names gate, feeder, whole"),
    ],
)
def test_a_view_that_is_not_there_begins_nothing(
    words: tuple[str, ...], code: int, said: str, frames: Path, config: Path, tmp_path: Path
) -> None:
    told = lastlayer("--state", tmp_path / "state", "learn", frames, "--config", config, *words, expect=code).stderr
    assert said in told
    assert not (tmp_path / "state").exists()


def test_a_configuration_must_describe_it(frames: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").touch()
    words = ("--state", tmp_path / "state", "learn", frames, "--view", "left", "--config")
    assert (
        "empty.yaml names no task 'default': it names none"
        in lastlayer(*words, tmp_path / "empty.yaml", expect=3).stderr
    )
    assert "nowhere.yaml: cannot be read" in lastlayer(*words, tmp_path / "nowhere.yaml", expect=2).stderr


def test_a_task_without_views_looks_at_whole_frames(frames: Path, config: Path, tmp_path: Path) -> None:
    whole = ("--state", tmp_path / "state", "--task", "whole", "learn", frames)
    assert as_json(*whole, "--view", "yard", "--config", config)["added"] == 24
    assert as_json(*whole)["known"] == 24
