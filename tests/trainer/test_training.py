"""From shards to a bundle, through the command line, on a few photographs."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.vision.backbone import Backbone
from agent.vision.bundle import load_bundle
from agent.vision.image import decode
from tests.trainer.shards import write_shard

ROOT = Path(__file__).resolve().parents[2]
FRAMEWORKS = [name for name in ("torch", "tensorflow", "jax") if importlib.util.find_spec(name)]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("keras") is None or not FRAMEWORKS,
        reason="the trainer extra (keras and a framework) is not installed",
    ),
]


def trainer(*arguments: object, backend: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend or FRAMEWORKS[0]}
    command = [sys.executable, "-m", "trainer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.fixture(scope="module")
def corpus(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 photographs of two classes in one shard, one of them torn."""
    folder = tmp_path_factory.mktemp("corpus")
    sets = shared / "data" / "transfer" / "trashnet"
    paths = [path for name in ("glass", "paper") for path in sorted((sets / name).glob("*.jpg"))[:12]]
    payloads = [path.read_bytes() for path in paths]
    payloads[3] = payloads[3][:200]
    write_shard(folder / "a.npz", payloads, [path.parent.name == "paper" for path in paths], [0, 0, 0, 1] * 6)
    return folder


def pretrained(corpus: Path, out: Path, *more: object) -> dict[str, Any]:
    ended = trainer("pretrain", corpus, "--out", out, "--minutes", 0.001, "--batch", 8, "--size", 32, "--json", *more)
    assert ended.returncode == 0, ended.stderr
    assert "pictures/s" in ended.stderr or "--resume" in more
    figures: dict[str, Any] = json.loads(ended.stdout)
    return figures


def test_a_run_by_labels_alone_leaves_a_checkpoint_and_figures_and_can_be_resumed(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.keras"
    figures = pretrained(corpus, out)
    assert figures["pictures"] == 23
    assert figures["unreadable"] == 1
    assert figures["classes"] == 2
    assert figures["pictures_seen"] >= 8
    assert np.isfinite(figures["loss"])
    assert 0 <= figures["validation_top1"] <= 1
    assert out.is_file()

    refused = trainer("pretrain", corpus, "--out", out)
    assert refused.returncode == 2
    assert "exists: go on with it by --resume" in refused.stderr

    more = pretrained(corpus, out, "--resume", "--minutes", 0.001 + figures["training_s"] / 60)
    assert more["pictures_seen"] > figures["pictures_seen"]
    assert more["training_s"] > figures["training_s"]


def test_a_teacher_is_asked_once_for_each_view(corpus: Path, shared: Path, tmp_path: Path) -> None:
    teacher = shared / "models" / "tf2_mobilenet_v2_1.0_224_ptq.tflite"
    figures = pretrained(corpus, tmp_path / "net.keras", "--teacher", teacher, "--views", 2, "--cache", tmp_path / "c")
    (chunk,) = (tmp_path / "c").rglob("*.npy")
    assert np.load(chunk).shape == (18, 2, 1280)
    assert np.isfinite(figures["loss"])


def test_a_checkpoint_of_another_corpus_is_not_resumed(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "net.keras").write_bytes(b"no checkpoint")
    (tmp_path / "net.json").write_text('{"elapsed_s": 1, "pictures": 1}')
    ended = trainer("pretrain", corpus, "--out", tmp_path / "net.keras", "--resume")
    assert ended.returncode == 2
    assert "cannot be resumed" in ended.stderr


@pytest.mark.skipif("tensorflow" not in FRAMEWORKS, reason="tensorflow, which converts, is not installed")
def test_a_checkpoint_of_any_backend_becomes_a_bundle_that_answers_like_it(corpus: Path, tmp_path: Path) -> None:
    pretrained(corpus, tmp_path / "net.keras")
    out = tmp_path / "tiny_64"
    ended = trainer("export", tmp_path / "net.keras", "--calibrate", corpus, "--out", out, "--size", 64, "--json")
    assert ended.returncode == 0, ended.stderr
    figures = json.loads(ended.stdout)  # and nothing of TensorFlow's on stdout
    assert [report["phase"] for report in figures["phases"]] == ["export", "calibrate", "convert", "evaluate"]
    assert figures["cosine_mean"] > 0.9
    bundle = load_bundle(out)
    assert (bundle.name, bundle.height, bundle.size) == ("tiny_64", 64, 384)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["command"].startswith("lastlayer-trainer export ")
    assert manifest["op_versions"]["CONV_2D"] >= 1
    picture = next(iter(sorted((corpus).glob("*.npz"))))
    with np.load(picture) as shard:
        payload = shard["data"][: shard["offsets"][1]].tobytes()
    assert Backbone(bundle).bottleneck(decode(payload, 64, 64)).dtype == np.int8


@pytest.mark.skipif("tensorflow" not in FRAMEWORKS, reason="tensorflow, which converts, is not installed")
def test_a_file_that_is_no_checkpoint_is_refused(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "net.keras").write_bytes(b"no checkpoint")
    ended = trainer("export", tmp_path / "net.keras", "--calibrate", corpus, "--out", tmp_path / "b")
    assert ended.returncode == 2
    assert "no checkpoint that can be loaded" in ended.stderr
    assert not (tmp_path / "b").exists()
