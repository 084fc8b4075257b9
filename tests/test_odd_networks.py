"""Networks whose values are of another size than usual, or no numbers for some pictures: from a picture to a head."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.cache import Cache, Layout
from agent.cache import cache as cache_module
from agent.records import Example
from tests.conftest import encoded
from tests.daemon import Daemon, lastlayer
from tests.mosquitto import Listener, Mosquitto
from tests.vision.test_bundle import NETWORKS

BLACK = encoded(np.zeros((40, 40, 3), np.uint8), "PNG")


def picture(label: str, seed: int) -> bytes:
    """Of 40 x 40 pixels, red or green and noise."""
    pixels = np.random.default_rng(seed).integers(0, 120, (40, 40, 3), np.uint8)
    pixels[..., ("red", "green").index(label)] += 60
    return encoded(pixels, "PNG")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train and val, of each label 40 and 10."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, label in enumerate(("red", "green")):
        for at in range(50):
            into = folder / ("train" if at < 40 else "val") / label
            into.mkdir(parents=True, exist_ok=True)
            (into / f"{at:02d}.png").write_bytes(picture(label, 1000 * number + at))
    return folder


def learnt(state: Path, name: str, pictures: Path) -> Any:
    """A state with that network that has learnt, and what its retraining says."""
    lastlayer("--state", state, "--backbone", NETWORKS / f"{name}.tflite", "learn", pictures)
    return json.loads(lastlayer("--state", state, "retrain", "--json").stdout)


@pytest.mark.parametrize("name", ["mean_float32", "huge", "tiny", "far", "mixed"])
def test_what_a_network_tells_apart_is_learnt_whatever_the_size_of_its_values(
    tmp_path: Path, pictures: Path, name: str
) -> None:
    said = learnt(tmp_path / "state", name, pictures)
    assert said["top1"] == 1.0
    evaluated = lastlayer("--state", tmp_path / "state", "evaluate", pictures, "--split", "val", "--json")
    result = json.loads(evaluated.stdout)
    assert (result["top1"], result["images"], result["failed"]) == (1.0, 20, 0)


@pytest.mark.parametrize("name", ["huge", "tiny", "far"])
def test_a_descent_by_steps_learns_from_them_too(tmp_path: Path, pictures: Path, name: str) -> None:
    state = tmp_path / "state"
    lastlayer("--state", state, "--backbone", NETWORKS / f"{name}.tflite", "learn", pictures)
    for solver in ("adam", "sgd"):
        words = ("--solver", solver, "--steps", 300, "--validate-every", 100)
        said = json.loads(lastlayer("--state", state, "retrain", "--json", *words).stdout)
        assert said["top1"] == 1.0
        assert "standardised" in said["reason"]


# A picture for which the network has no numbers


def test_such_a_picture_is_not_learnt_and_the_others_are(tmp_path: Path, pictures: Path) -> None:
    folder = tmp_path / "night"
    for label in ("red", "green"):
        (folder / label).mkdir(parents=True)
        (folder / label / "day.png").write_bytes(picture(label, 5))
    (folder / "red" / "lens_cap.png").write_bytes(BLACK)
    ended = lastlayer(
        "--state", tmp_path / "state", "--backbone", NETWORKS / "logarithm.tflite", "learn", folder, "--json"
    )
    said = json.loads(ended.stdout)
    assert (said["added"], said["failed"], said["labels"]) == (2, 1, {"green": 1, "red": 1})
    assert "lens_cap.png: not learnt: the backbone gives no finite numbers for this picture" in ended.stderr


@pytest.mark.parametrize("name", ["logarithm", "normalised"])
def test_such_a_picture_is_unknown(tmp_path: Path, pictures: Path, name: str) -> None:
    state, cap = tmp_path / "state", tmp_path / "cap"
    learnt(state, name, pictures)
    (cap / "red").mkdir(parents=True)
    (cap / "red" / "black.png").write_bytes(BLACK)
    (cap / "red" / "red.png").write_bytes(picture("red", 5))
    ended = lastlayer("--state", state, "classify", cap / "red" / "black.png", "--json")
    result = strict(ended.stdout)
    assert (result["predictions"], result["unknown"]) == ([], True)
    assert "black.png: the backbone gives no finite numbers" in ended.stderr
    judged = strict(lastlayer("--state", state, "evaluate", cap, "--json").stdout)
    assert (judged["images"], judged["failed"]) == (1, 1)

    with Daemon(state) as daemon:
        for _ in range(3):
            result = daemon.ask("POST", "/v1/frames?camera=door", BLACK)
            assert (result["predictions"], result["unknown"]) == ([], True)
        refused = daemon.ask("POST", f"/v1/frames/{result['frame_id']}/label", {"label": "red"}, expect=400)
        assert "no finite numbers" in refused["error"]
        assert "no finite numbers" in daemon.ask("POST", "/v1/frames?label=red", BLACK, expect=400)["error"]
        status = daemon.ask("GET", "/v1/status")
        assert (status["not_finite"], status["frames"], status["examples"]) == (4, 4, 100)
        assert daemon.ask("POST", "/v1/frames", picture("green", 7))["predictions"][0]["label"] == "green"
        daemon.ask("POST", "/v1/retrain", expect=202)
        assert daemon.wait_retrained()["state"] == "done"
        assert daemon.log.count("no finite numbers") == 1


def test_over_mqtt_and_from_a_watched_folder_it_is_unknown_too(
    tmp_path: Path, pictures: Path, mosquitto: Mosquitto
) -> None:
    learnt(tmp_path / "state", "logarithm", pictures)
    uploads = tmp_path / "uploads"
    (uploads / "gate").mkdir(parents=True)
    settings = {
        "mqtt": {"host": mosquitto.host, "port": mosquitto.port, "node": "board"},
        "folder": {"path": str(uploads), "after": "move"},
    }
    with Listener(mosquitto) as listener, Daemon(tmp_path / "state", settings) as daemon:
        listener.wait_for("lastlayer/board/availability", lambda said: said == "online")
        listener.publish("lastlayer/board/frame/door", BLACK)
        (uploads / "gate" / "black.png.part").write_bytes(BLACK)
        (uploads / "gate" / "black.png.part").rename(uploads / "gate" / "black.png")
        results = listener.wait_for("lastlayer/board/result", count=2)
        assert sorted(said["camera"] for said in results) == ["door", "gate"]
        for said in results:
            assert (said["unknown"], said["predictions"], said["label"], said["probability"]) == (True, [], None, None)
        status = daemon.ask("GET", "/v1/status")
        assert (status["not_finite"], status["bad_frames"]) == (2, 0)
        assert daemon.log.count("no finite numbers") == 1
        assert " ERROR " not in daemon.log


def strict(text: str) -> Any:
    """JSON that is JSON. Raises ValueError for NaN and the like."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


# What earlier versions kept


def of_before(state: Path, bottlenecks: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Add examples of the label green to a state's cache as an earlier version did: float16, whatever the values."""
    with Cache.read(state / "cache") as cache:
        old = Layout(cache.layout.backbone_id, cache.layout.size, "float16", 1.0, 0)
        kept, following = cache.page(0, 1000)
    assert following is None
    for path in (state / "cache").iterdir():
        path.unlink()

    def encoded_before(layout: Layout, bottleneck: Any) -> Any:
        limit = np.finfo(np.float16).max
        return np.clip(bottleneck, -limit, limit).astype(np.float16)

    with monkeypatch.context() as patch:
        patch.setattr(Layout, "encoded", encoded_before)
        patch.setattr(cache_module, "FINITE", 0)
        with Cache(state / "cache", old) as cache:
            cache.append(kept)
            odd = [
                Example(frame_id, "green", np.array(values, np.float32), 1_700_000_000_000, "door")
                for frame_id, values in bottlenecks.items()
            ]
            cache.append(odd)


ODD = {"00000000000000aa": [np.nan, 0.1, 0.1], "00000000000000bb": [-np.inf] * 3, "00000000000000cc": [0.1, 1e9, 0.1]}


@pytest.mark.parametrize(
    "words",
    [(), ("--solver", "adam", "--steps", "200", "--validate-every", "100"), ("--solver", "sgd", "--steps", "200")],
    ids=["auto", "adam", "sgd"],
)
def test_examples_that_are_not_finite_are_passed_over_and_named(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    state = tmp_path / "state"
    lastlayer("--state", state, "--backbone", NETWORKS / "mean_float32.tflite", "learn", pictures)
    of_before(state, ODD, monkeypatch)
    for _ in range(2):  # the second follows the sums of the first
        ended = lastlayer("--state", state, "retrain", "--json", *words)
        said = strict(ended.stdout)
        assert sorted(said["not_finite"]) == sorted(ODD)
        assert (said["examples"], said["top1"]) == (80, 1.0)
        assert "3 examples are passed over, their bottlenecks are not finite: frames 00000000000000aa" in ended.stderr
    shown = strict(lastlayer("--state", state, "cache", "check", "--json", expect=5).stdout)
    assert sorted(fault["frame_id"] for fault in shown["faults"]) == sorted(ODD)
    for frame_id in ODD:
        lastlayer("--state", state, "cache", "delete", "--frame", frame_id)
    lastlayer("--state", state, "cache", "check")
    assert strict(lastlayer("--state", state, "retrain", "--json").stdout)["not_finite"] == []


def test_a_state_of_before_goes_on_in_float16(tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state"
    lastlayer("--state", state, "--backbone", NETWORKS / "mean_float32.tflite", "learn", pictures / "train")
    of_before(state, {}, monkeypatch)
    said = json.loads(lastlayer("--state", state, "learn", pictures, "--json").stdout)
    assert (said["added"], said["failed"], said["examples"]) == (20, 0, 100)
    with Cache.read(state / "cache") as cache:
        assert cache.layout.dtype == "float16"


def test_what_does_not_fit_into_a_cache_of_before_is_refused_by_name(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("huge", "tiny"):
        state = tmp_path / name
        lastlayer("--state", state, "--backbone", NETWORKS / f"{name}.tflite", "learn", pictures / "train")
        of_before(state, {}, monkeypatch)
        ended = lastlayer("--state", state, "learn", pictures / "val", "--json", expect=3)
        assert json.loads(ended.stdout)["failed"] == 20
        assert "val/red/40.png: not learnt: its bottleneck reaches" in ended.stderr.replace("\\", "/")
        assert "which the half precision of this cache cannot hold" in ended.stderr
