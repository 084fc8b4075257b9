"""What our own commands write, our own commands read: every file of a training with every command that takes one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import write_class_folders
from tests.daemon import ROOT, lastlayer
from tests.trainer.needing_keras import NEEDING_KERAS

pytestmark = NEEDING_KERAS

SIZE = 64  # of what pretrain's network takes, which is free: only the file says it
NETWORKS = ("pretrained", "fitted")  # of any size, and tapped; of one size, and cut


def run(*words: object, expect: int = 0) -> "subprocess.CompletedProcess[str]":
    ended = subprocess.run(
        [sys.executable, "-m", "trainer", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow"},
    )
    assert ended.returncode == expect, ended.stderr
    assert "Traceback" not in ended.stderr and "cudart" not in ended.stderr and "INFO" not in ended.stderr
    return ended


def as_json(*words: object) -> Any:
    return json.loads(run(*words, "--json").stdout)


@pytest.fixture(scope="module")
def pictures(photographs: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_class_folders(tmp_path_factory.mktemp("exchange") / "pictures", photographs, 25)


@pytest.fixture(scope="module")
def written(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of a training; made when it is first asked for."""
    folder = tmp_path_factory.mktemp("written")
    first = ("--batch", 8, "--top-epochs", 0, "--epochs", 1)
    random = ("--weights", "random", "--alpha", 0.35, "--size", 32)

    def made(name: str) -> Path:
        out = folder / f"{name.replace(' ', '_')}.keras"
        if not out.exists():
            {
                "pretrained": lambda: run(
                    "pretrain", pictures, "--out", out, "--minutes", 0.001, "--size", SIZE, "--batch", 8
                ),
                "pretrained again": lambda: run("finetune", made("pretrained"), pictures, "--out", out, *first),
                "fitted": lambda: run("finetune", "MobileNetV2", pictures, "--out", out, *random, *first),
            }[name]()
        return out

    return made


@pytest.mark.parametrize("name", [*NETWORKS, "pretrained again"])
def test_bottlenecks_are_computed_with_what_a_training_wrote_and_their_head_is_measured(
    name: str, written: Callable[[str], Path], pictures: Path, tmp_path: Path
) -> None:
    network, state = written(name), tmp_path / "state"
    assert as_json("bottlenecks", pictures, "--keras", network, "--out", state)["examples"] == 50
    lastlayer("--state", state, "retrain")
    by_state = as_json("evaluate", pictures, "--state", state, "--keras", network)
    by_file = as_json("evaluate", pictures, "--head", state / "heads" / "1" / "head.npz", "--keras", network)
    assert by_state["images"] == by_file["images"] == 50
    assert by_state["top1"] == by_file["top1"]
    assert as_json("sweep", state, "--out", tmp_path / "sweep", "--steps", 20)["picked"]
    said = run("evaluate", pictures, "--state", state, expect=5).stderr
    assert "has no backbone of its own" in said and "--keras" in said


@pytest.mark.parametrize("name", NETWORKS)
def test_a_bundle_is_made_of_what_a_training_wrote_and_serves(
    name: str, written: Callable[[str], Path], pictures: Path, tmp_path: Path
) -> None:
    bundle, state = tmp_path / "bundle", tmp_path / "state"
    run("export", written(name), "--calibrate", pictures, "--out", bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["input"]["height"] == (SIZE if name.startswith("pretrained") else 32)
    assert as_json("bottlenecks", pictures, "--backbone", bundle, "--out", state, "--workers", 1)["examples"] == 50
    lastlayer("--state", state, "retrain")
    assert as_json("evaluate", pictures, "--state", state, "--workers", 1)["images"] == 50
    head = state / "heads" / "1" / "head.npz"
    assert as_json("evaluate", pictures, "--head", head, "--backbone", bundle, "--workers", 1)["images"] == 50
    assert lastlayer("--state", state, "evaluate", pictures).stdout


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_training_wrote_is_trained_on_and_measured(
    name: str, written: Callable[[str], Path], pictures: Path, tmp_path: Path
) -> None:
    pytest.importorskip("sklearn", reason="the pictures are those inside scikit-learn")
    network, again = written(name), tmp_path / "again.keras"
    figures = as_json("finetune", network, pictures, "--out", again, "--top-epochs", 1, "--epochs", 0, "--batch", 8)
    assert figures["train"] + figures["val"] + figures["test"] == figures["pictures"] == 50
    document = as_json("bench", "--quick", "--networks", network, again, "--scratch", tmp_path)
    assert len(document["networks"]) == 2
    if name.startswith("pretrained"):
        assert {each["height"] for each in document["networks"]} == {SIZE}
