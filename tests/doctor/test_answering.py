"""The checks of a network and a head, on real ones."""

from pathlib import Path

import pytest

from agent.doctor.answering import head, model, model_of
from agent.state.state import open_state
from agent.vision.bundle import DEFAULT, load_bundle
from tests.daemon import ROOT

NETWORKS = ROOT / "tests/vision/networks"


def test_the_backbone_is_run_once() -> None:
    bundle, check = load_bundle(DEFAULT), model(DEFAULT)
    assert check.outcome == "ok"
    assert f"{bundle.width} x {bundle.height} pixels to {bundle.size} values" in check.found


@pytest.mark.parametrize("name", ["no_vector", "two_inputs", "not_finite"])
def test_a_backbone_that_is_none_fails(name: str) -> None:
    assert model(NETWORKS / f"{name}.tflite").outcome == "fail"


def test_a_torn_model_that_ends_its_process_fails(tmp_path: Path) -> None:
    torn = tmp_path / "torn.tflite"
    torn.write_bytes(load_bundle(DEFAULT).model.read_bytes()[:100_000])
    assert model(torn).outcome == "fail"


def test_a_state_has_the_network_that_it_was_made_with(tmp_path: Path) -> None:
    own = str(NETWORKS / "mean_uint8.tflite")
    assert model_of(tmp_path / "none", own).found.startswith(own)
    bundle = open_state(tmp_path / "state", own).bundle
    assert model_of(tmp_path / "state", None).found.startswith(str(bundle.model.parent))
    assert head(tmp_path / "state").found == "none yet"


@pytest.mark.parametrize(
    ("task", "key", "change"), [("", "backbone", ""), ("gate", "tasks.gate.backbone", "--task gate ")]
)
def test_another_network_than_that_of_the_examples_fails_and_says_what_to_do(
    task: str, key: str, change: str, tmp_path: Path
) -> None:
    open_state(tmp_path, str(NETWORKS / "mean_uint8.tflite"))
    other = str(NETWORKS / "mean_int8.tflite")
    check = model_of(tmp_path, other, task)
    assert (check.outcome, "must not be mixed" in check.found) == ("fail", True)
    assert check.advice.startswith(f"set {key}: mean_uint8; or change it with `lastlayer {change}models import {other}")
    assert model_of(tmp_path, "no such", task).advice.startswith(f"name another with {key}:")
