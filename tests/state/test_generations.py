"""A state with several backbones: each with its own examples and heads, one of them in use."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from agent.errors import BundleError, MismatchError, StateError, UnknownBackboneError
from agent.learning.heads.store import HeadStore
from agent.learning.solving.head import Head
from agent.reporting.timing import Timings
from agent.state import generations
from agent.state.arrivals import take_backbone, take_head, take_sent_backbone
from agent.state.parcels import SentHead, pack_backbone
from agent.vision.backbone import FAMILY
from agent.vision.bundle import DEFAULT, load_bundle
from tests.daemon import lastlayer

NETWORKS = Path(__file__).parents[1] / "vision" / "networks"
REPORT = {"solver": "lda", "labels": ["china", "flower"], "created_ms": 1}


def zeros(backbone_id: str, size: int) -> SentHead:
    head = Head(("china", "flower"), np.zeros((size, 2), np.float32), np.array([1, 0], np.float32), backbone_id)
    return SentHead(head, REPORT)


def as_json(*words: object) -> dict[str, object]:
    answer: dict[str, object] = json.loads(lastlayer(*words, "--json").stdout)
    return answer


def test_a_new_state_is_its_own_first_generation(tmp_path: Path) -> None:
    assert generations.current(tmp_path / "none yet") == tmp_path / "none yet"
    assert generations.names(tmp_path) == []


def test_another_backbone_begins_empty_and_can_be_left_again(state: Path) -> None:
    name = take_backbone(state, NETWORKS / "mean_uint8.tflite")
    assert generations.current(state) == state, "taken in is not yet in use"
    generations.use(state, name)
    other = generations.current(state)
    assert other != state
    assert HeadStore(other / "heads").versions() == []
    assert generations.names(state) == ["first", name]
    assert generations.rollback(state) == "first"
    assert generations.current(state) == state
    assert HeadStore(state / "heads").active() == "1"


def test_there_must_be_something_to_return_to(state: Path) -> None:
    with pytest.raises(UnknownBackboneError, match="none that still exists was before it"):
        generations.rollback(state)


def test_the_same_backbone_is_the_same_generation(state: Path) -> None:
    first = take_backbone(state, NETWORKS / "mean_uint8.tflite")
    assert take_backbone(state, NETWORKS / "mean_uint8.tflite") == first


def test_what_cannot_be_a_backbone_leaves_nothing_behind(state: Path) -> None:
    with pytest.raises(BundleError):
        take_backbone(state, NETWORKS / "two_outputs.tflite")
    assert [path.name for path in (state / "generations").iterdir()] == []
    assert generations.names(state) == ["first"]


def test_a_backbone_that_is_damaged_later_is_passed_over(state: Path) -> None:
    first, second = (take_backbone(state, NETWORKS / f"mean_{kind}.tflite") for kind in ("uint8", "int8"))
    for name in (first, second):
        generations.use(state, name)
    (generations.folder_of(state, first) / "backbone" / "model.tflite").write_bytes(b"rotten")
    with pytest.raises(BundleError, match="sha256"):
        generations.use(state, first)
    assert generations.rollback(state) == "first"


def test_a_damaged_pointer_says_what_to_do(state: Path) -> None:
    (state / "generation").write_bytes(b"\xff/..\n")
    with pytest.raises(StateError, match="models use"):
        generations.current(state)
    generations.use(state, "first")
    assert generations.current(state) == state


def test_a_sent_backbone_brings_its_head(state: Path, tmp_path: Path) -> None:
    shutil.copytree(load_bundle(DEFAULT).model.parent, tmp_path / "bundle")
    take_backbone(state, NETWORKS / "mean_uint8.tflite")
    bundle = load_bundle(generations.folder_of(state, generations.names(state)[1]) / "backbone")
    fresh = tmp_path / "fresh"
    shutil.copytree(state / "backbone", fresh / "backbone")
    parcel = pack_backbone(bundle, zeros(bundle.backbone_id(FAMILY), bundle.size))
    generations.use(fresh, take_sent_backbone(fresh, parcel))
    heads = HeadStore(generations.current(fresh) / "heads")
    assert heads.active() == "1"
    assert heads.report("1")["gate"]["reason"].startswith("there are no examples here to judge it by")


def test_a_head_for_another_runtime_is_refused_with_its_backbone(state: Path) -> None:
    bundle = load_bundle(DEFAULT)
    with pytest.raises(MismatchError, match="another TFLite runtime"):
        take_sent_backbone(state, pack_backbone(bundle, zeros(bundle.backbone_id("other_family"), bundle.size)))
    assert generations.names(state) == ["first"]


def test_a_sent_head_is_judged_by_the_examples_here(state: Path) -> None:
    store = HeadStore(state / "heads")
    bundle = load_bundle(state / "backbone")
    always_china = zeros(bundle.backbone_id(FAMILY), bundle.size)
    version, verdict = take_head(state, always_china, 0.02, Timings(node="test", runtime="numpy"))
    assert not verdict.accepted
    assert "worse than the head in service" in verdict.reason
    assert (store.active(), version) == ("1", "2")


def test_the_command_line_lists_uses_and_returns(state: Path) -> None:
    name = as_json("--state", state, "models", "import", NETWORKS / "mean_uint8.tflite", "--use")["bundle"]
    assert as_json("--state", state, "models")["in_use"] == name
    assert as_json("--state", state, "heads") == {"active": None, "heads": []}
    assert as_json("--state", state, "models", "rollback") == {"in_use": "first"}
    assert as_json("--state", state, "heads")["active"] == "1"
    lastlayer("--state", state, "models", "use", "nonsense", expect=3)


def test_a_head_is_packed_on_one_board_and_taken_in_on_another(state: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(state / "backbone", other / "backbone")
    parcel = tmp_path / "head.parcel"
    assert as_json("--state", state, "heads", "pack", "--out", parcel)["version"] == "1"
    assert as_json("--state", other, "heads", "take", parcel)["accepted"] is True
    assert as_json("--state", other, "heads")["active"] == "1"
    parcel.write_bytes(parcel.read_bytes()[:-1])
    assert "sha256" in lastlayer("--state", other, "heads", "take", parcel, expect=3).stderr
