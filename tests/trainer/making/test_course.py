"""Trainings through the command line, each in a process of its own as Keras wants it, on crops of two photographs."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.vision.backbone import Backbone
from agent.vision.bundle import load_bundle
from agent.vision.image import decode
from tests.conftest import crops, write_class_folders
from tests.mosquitto import Listener, Mosquitto
from tests.trainer.making.shards import write_shard
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]
FRAMEWORKS = [name for name in ("tensorflow", "torch", "jax") if importlib.util.find_spec(name)]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("keras") is None or not FRAMEWORKS,
        reason="the trainer extra (keras and a framework) is not installed",
    ),
]


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "trainer", *map(str, words)]


def environment(backend: str = "") -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend or FRAMEWORKS[0]}


def trainer(*words: object, backend: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(*words), capture_output=True, text=True, env=environment(backend), timeout=300)


@pytest.fixture(scope="module")
def corpus(photographs: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 crops of two photographs in one shard, one of them torn."""
    folder = tmp_path_factory.mktemp("corpus")
    payloads = [payload for photograph in photographs for payload in crops(photograph, 12, seed=0)]
    payloads[3] = payloads[3][:200]
    write_shard(folder / "a.npz", payloads, [0] * 12 + [1] * 12, [0, 0, 0, 1] * 6)
    return folder


SMALL = ("--batch", 8, "--size", 32, "--json")


def pretrained(corpus: Path, out: Path, *more: object, backend: str = "") -> dict[str, Any]:
    words = (*SMALL, *(() if "--minutes" in more else ("--minutes", 0.001)), *more)
    ended = trainer("pretrain", corpus, "--out", out, *words, backend=backend)
    assert ended.returncode == 0, ended.stderr
    assert "pictures/s" in ended.stderr
    figures: dict[str, Any] = json.loads(ended.stdout)
    return figures | {"said": ended.stderr}


def test_a_run_by_labels_leaves_a_checkpoint_curves_and_figures_and_can_be_resumed(
    corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "net.keras"
    figures = pretrained(corpus, out, "--tensorboard", tmp_path / "curves")
    assert figures["pictures"] == 23
    assert figures["unreadable"] == 1
    assert figures["classes"] == 2
    assert figures["pictures_seen"] >= 16
    assert np.isfinite(figures["loss"])
    assert 0 <= figures["validation_top1"] <= 1
    assert 0 <= figures["waited_share"] <= 1
    phases = {report["phase"]: report for report in figures["phases"]}
    assert phases.keys() >= {"input", "compile", "evaluate"}
    assert phases["compile"]["count"] in (2, 3)  # a step at each size that there was time for, and the judging
    assert figures["train"] + figures["val"] == 23 and figures["test"] == 0
    assert f"{figures['train']} pictures of 2 classes to train on" in figures["said"]
    assert list((tmp_path / "curves").iterdir())
    assert [path.name for path in tmp_path.glob("*.keras")] == ["net.keras"]

    refused = trainer("pretrain", corpus, "--out", out)
    assert refused.returncode == 2
    assert "exists: go on with it by --resume" in refused.stderr

    more = pretrained(corpus, out, "--resume", "--minutes", 0.001 + figures["training_s"] / 60)
    assert more["pictures_seen"] > figures["pictures_seen"]
    assert more["training_s"] > figures["training_s"]


def test_a_training_that_was_killed_goes_on_from_its_checkpoint(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.keras"
    words = ("pretrain", corpus, "--out", out, *SMALL, "--minutes", 100, "--checkpoint-s", 0)
    process = subprocess.Popen(command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    try:
        until(lambda: out.exists() or process.poll() is not None, timeout=240)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    from trainer.making.checkpoint import read_standing

    standing = read_standing(out)
    assert standing.step > 0
    figures = pretrained(corpus, out, "--resume", "--minutes", 0.001 + standing.elapsed_s / 60)
    assert figures["pictures_seen"] > standing.pictures == 8 * standing.step


def test_a_teacher_is_asked_once_for_each_view(corpus: Path, shared: Path, tmp_path: Path) -> None:
    teacher = shared / "models" / "tf2_mobilenet_v2_1.0_224_ptq.tflite"
    figures = pretrained(corpus, tmp_path / "net.keras", "--teacher", teacher, "--views", 2, "--cache", tmp_path / "c")
    (chunk,) = (tmp_path / "c").rglob("*.npy")
    assert np.load(chunk).shape == (18, 2, 1280)
    assert np.isfinite(figures["loss"])
    assert "teacher" in {report["phase"] for report in figures["phases"]}


def test_what_is_no_checkpoint_is_not_resumed_and_no_network_not_exported(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.keras"
    out.write_bytes(b"no checkpoint")
    ended = trainer("pretrain", corpus, "--out", out, "--resume")
    assert ended.returncode == 2
    assert "cannot be resumed" in ended.stderr
    if "tensorflow" in FRAMEWORKS:
        ended = trainer("export", out, "--calibrate", corpus, "--out", tmp_path / "b")
        assert ended.returncode == 2
        assert "cannot be loaded" in ended.stderr
        assert not (tmp_path / "b").exists()


@pytest.mark.skipif("tensorflow" not in FRAMEWORKS, reason="tensorflow, which converts, is not installed")
@pytest.mark.parametrize("backend", FRAMEWORKS)
def test_what_any_backend_trained_in_mixed_precision_becomes_a_bundle(
    backend: str, corpus: Path, tmp_path: Path
) -> None:
    pretrained(corpus, tmp_path / "net.keras", "--precision", "mixed_bfloat16", backend=backend)
    out = tmp_path / "tiny_64"
    ended = trainer("export", tmp_path / "net.keras", "--calibrate", corpus, "--out", out, "--size", 64, "--json")
    assert ended.returncode == 0, ended.stderr
    figures = json.loads(ended.stdout)  # and nothing of TensorFlow's on stdout
    assert [report["phase"] for report in figures["phases"]] == ["export", "calibrate", "convert", "evaluate"]
    assert figures["cosine_mean"] > 0.9
    bundle = load_bundle(out)
    assert (bundle.name, bundle.height, bundle.size) == ("tiny_64", 64, 384)
    assert json.loads((out / "manifest.json").read_text())["command"].startswith("lastlayer-trainer export ")
    with np.load(corpus / "a.npz") as shard:
        payload = shard["data"][: shard["offsets"][1]].tobytes()
    assert Backbone(bundle).bottleneck(decode(payload, 64, 64)).dtype == np.int8


def test_a_network_is_fitted_to_class_folders_top_first_and_says_so_over_mqtt(
    photographs: list[np.ndarray], mosquitto: Mosquitto, tmp_path: Path
) -> None:
    pictures = write_class_folders(tmp_path / "pictures", photographs, 30)
    words = ("--weights", "random", "--alpha", 0.35, "--size", 32, "--batch", 8, "--json")
    out = tmp_path / "net.keras"
    with Listener(mosquitto) as listener:
        mqtt = ("--mqtt", f"{mosquitto.host}:{mosquitto.port}", "--node", "desk")
        ended = trainer("finetune", "MobileNetV2", pictures, "--out", out, *words, "--epochs", 1, *mqtt)
        assert ended.returncode == 0, ended.stderr
        report = listener.wait_for("lastlayer/desk/timing/step")[-1]
    assert (report["role"], report["images"] % 8) == ("trainer", 0)
    by_phase = {each["phase"]: each for each in json.loads(ended.stdout)["phases"]}
    assert by_phase["step"]["max_ms"] < by_phase["compile"]["max_ms"]
    first = json.loads(ended.stdout)
    # A file has weights worth freezing: its top is trained alone first, and another network comes out.
    again = tmp_path / "again.keras"
    ended = trainer("finetune", out, pictures, "--out", again, "--top-epochs", 1, "--epochs", 1, "--batch", 8, "--json")
    assert ended.returncode == 0, ended.stderr
    second = json.loads(ended.stdout)
    assert second["steps"] == 2 * first["steps"]
    assert "top" in ended.stderr
    assert "all" in ended.stderr
    # What is complete is resumed to no more than its figures.
    ended = trainer(
        "finetune", out, pictures, "--out", again, "--top-epochs", 1, "--epochs", 1, "--batch", 8, "--json", "--resume"
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["steps"] == second["steps"]
