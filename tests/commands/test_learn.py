"""What `learn` does about pictures and labels that were seen before."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from agent.cache import Cache
from agent.learning.training.examples import HELD_BACK
from agent.records import SPLITS, picture_id
from tests.conftest import encoded, write_class_folders
from tests.daemon import Daemon, lastlayer


def as_json(*words: object, expect: int = 0) -> Any:
    return json.loads(lastlayer(*words, "--json", expect=expect).stdout)


def blocks(seed: int, tint: int) -> bytes:
    """A JPEG of 8 x 9 blocks of some brightness, with more of the channel `tint`: no two look the same."""
    pixels = np.kron(np.random.default_rng(seed).integers(0, 200, (8, 9, 1), np.uint8), np.ones((24, 24, 3), np.uint8))
    pixels[..., tint] += 55
    return encoded(pixels, "JPEG", quality=90)


def write_blocks(folder: Path, count: int, first: int = 0) -> Path:
    """Class folders `red` and `blue` with so many of them each."""
    for label, tint in (("red", 0), ("blue", 2)):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            (folder / label / f"{number}.jpg").write_bytes(blocks(2 * (first + number) + tint // 2, tint))
    return folder


def stored_again(payload: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(payload)).save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


def sides(state: Path) -> dict[str, str]:
    """The side of each example, by frame id, as a training sees it."""
    with Cache.read(state / "cache") as cache:
        examples = cache.examples()
    names = {**dict(enumerate(SPLITS)), HELD_BACK: "held back"}
    return {f"{id:016x}": names[side] for id, side in zip(examples.frame_ids.tolist(), examples.splits, strict=True)}


def test_pictures_of_val_that_a_camera_sends_again_never_train(tmp_path: Path) -> None:
    state, split = tmp_path / "state", tmp_path / "pictures"
    write_blocks(split / "train", 8)
    write_blocks(split / "val", 8, first=8)
    assert as_json("--state", state, "learn", split)["held_back"] == 0
    trained = as_json("--state", state, "retrain")
    known = sorted((split / "val").rglob("*.jpg"))
    with Daemon(state) as daemon:
        for path in known:
            for payload in (path.read_bytes(), stored_again(path.read_bytes())):
                daemon.ask("POST", f"/v1/frames?label={path.parent.name}&camera=door", payload)
        status = daemon.ask("GET", "/v1/status")
    assert status["examples"] == 48, "the same bytes are one example, and what was stored again is another"
    assert status["held_back"] == 16
    found = sides(state)
    assert {found[picture_id(path.read_bytes())] for path in known} == {"val"}
    assert {found[picture_id(stored_again(path.read_bytes()))] for path in known} == {"held back"}
    again = as_json("--state", state, "retrain")
    assert (again["examples"], again["held_back"]) == (trained["examples"], 16)
    assert list(found.values()).count("val") == 16
    assert as_json("--state", state, "cache", "stats")["held_back"] == 16


def test_look_alikes_that_were_learnt_before_the_pictures_of_val_are_held_back_from_then_on(
    tmp_path: Path,
) -> None:
    state = tmp_path / "state"
    new = write_blocks(tmp_path / "new", 5)
    before = tmp_path / "before"
    for path in new.rglob("*.jpg"):
        (before / path.parent.name).mkdir(parents=True, exist_ok=True)
        (before / path.parent.name / path.name).write_bytes(stored_again(path.read_bytes()))
    rows = ["file,class,split", *(f"{path.relative_to(new)},{path.parent.name},val" for path in new.rglob("*.jpg"))]
    (new / "val.csv").write_text("\n".join(rows))
    assert as_json("--state", state, "learn", before)["held_back"] == 0
    assert as_json("--state", state, "learn", new / "val.csv")["held_back"] == 10
    assert "10 are held back" in lastlayer("--state", state, "retrain", expect=6).stderr


def test_a_picture_that_was_learnt_moves_to_val_when_a_list_puts_it_there_and_never_back(
    tmp_path: Path, photographs: list[np.ndarray]
) -> None:
    pictures, state = write_class_folders(tmp_path / "pictures", photographs, 6), tmp_path / "state"
    lastlayer("--state", state, "learn", pictures)
    rows = [
        f"{label}/{n:03d}.jpg,{label},{'val' if n < 2 else 'train'}" for label in ("china", "flower") for n in range(6)
    ]
    (pictures / "split.csv").write_text("\n".join(["file,class,split", *rows]))
    learnt = as_json("--state", state, "learn", pictures / "split.csv")
    assert (learnt["added"], learnt["known"], learnt["moved"], learnt["examples"]) == (0, 12, 4, 12)
    put = picture_id((pictures / "china" / "000.jpg").read_bytes())
    assert sides(state)[put] == "val"
    (pictures / "split.csv").write_text("file,class,split\nchina/000.jpg,china,train\nflower/003.jpg,flower,train\n")
    assert as_json("--state", state, "learn", pictures / "split.csv")["moved"] == 0
    assert sides(state)[put] == "val"


def test_a_picture_in_two_class_folders_keeps_the_first_label_and_is_named_at_every_learning(
    tmp_path: Path, photographs: list[np.ndarray]
) -> None:
    pictures, state = write_class_folders(tmp_path / "pictures", photographs, 3), tmp_path / "state"
    shutil.copy(pictures / "china" / "001.jpg", pictures / "flower" / "copied.jpg")
    twice = picture_id((pictures / "china" / "001.jpg").read_bytes())
    for added in (6, 0):
        ended = lastlayer("--state", state, "learn", pictures, "--json")
        learnt = json.loads(ended.stdout)
        assert (learnt["added"], learnt["contradicting"], learnt["relabelled"]) == (added, 1, 0)
        assert "flower/copied.jpg: not learnt as 'flower': it is 'china' in" in ended.stderr
        with Cache.read(state / "cache") as cache:
            assert cache.label_of(twice) == "china"
    assert "1 stand there twice with two labels" in lastlayer("--state", state, "learn", pictures).stdout


def test_labels_that_may_be_a_slip_are_asked_about_before_anything_is_learnt(
    tmp_path: Path, photographs: list[np.ndarray]
) -> None:
    pictures, state = write_class_folders(tmp_path / "pictures", photographs, 3), tmp_path / "state"
    for number, slip in enumerate(("chinna", "Flower")):
        (pictures / slip).mkdir()
        (pictures / slip / "new.jpg").write_bytes(blocks(number, 0))
    refused = lastlayer("--state", state, "learn", pictures, expect=3).stderr
    assert "'Flower' (did you mean 'flower'?), 'chinna' (did you mean 'china'?)" in refused
    assert "--new-labels" in refused
    learnt = as_json("--state", state, "learn", pictures, "--new-labels")
    assert learnt["labels"] == {"Flower": 1, "china": 3, "chinna": 1, "flower": 3}
    assert as_json("--state", state, "learn", pictures)["known"] == 8, "what is known is not asked about again"
    assert "did you mean 'china'" in lastlayer("--state", state, "cache", "rename", "flower", "chima", expect=3).stderr
    assert as_json("--state", state, "cache", "rename", "chinna", "china")["renamed"] == 1


def test_a_label_that_an_earlier_version_stored_can_be_renamed(tmp_path: Path, photographs: list[np.ndarray]) -> None:
    pictures, state = write_class_folders(tmp_path / "pictures", photographs, 3), tmp_path / "state"
    lastlayer("--state", state, "learn", pictures)
    with Cache.existing(state / "cache") as cache:
        cache.rename_label("china", "chi\u200bna")
    assert as_json("--state", state, "retrain")["labels"] == ["chi\u200bna", "flower"]
    assert as_json("--state", state, "cache", "rename", "chi\u200bna", "china")["renamed"] == 3
