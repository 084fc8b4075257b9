"""A Keras model as backbone, and the study's network; both need Keras on TensorFlow, which takes its time to load."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.daemon import ROOT, lastlayer
from tests.trainer.bulk.corpora import contents, write_corpus

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("keras") is None, reason="the trainer extra is not installed"),
]

MODELS = """
import keras, sys
from keras import layers
image = keras.Input((32, 32, 3))
maps = layers.Conv2D(8, 3, 4)(layers.Rescaling(1 / 127.5, -1)(image))
vector = layers.GlobalAveragePooling2D()(maps)
keras.Model(image, vector).save(sys.argv[1] + "/good.keras")
keras.Model(image, maps).save(sys.argv[1] + "/unpooled.keras")
other = keras.Input((4,))
keras.Model([image, other], layers.Concatenate()([vector, other])).save(sys.argv[1] + "/two.keras")
free = keras.Input((None, None, 3))
keras.Model(free, layers.GlobalAveragePooling2D()(free)).save(sys.argv[1] + "/free.keras")
"""
STUDY = """
import sys
from pathlib import Path
from trainer.networks import study_network
import keras
study_network.SIDE = 16
def network():
    image = keras.Input((16, 16, 3))
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(image)))
study_network._network = network
for kind, name in (("int8", "int8.tflite"), ("float", "float.tflite"), ("keras", "keras.keras")):
    study_network.made(kind, Path(sys.argv[1], f"inception_v3_{name}"))
"""


def run(*words: object, expect: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow", **environment},
    )
    assert ended.returncode == expect, ended.stderr
    return ended


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    run("-c", MODELS, folder)
    return folder


def test_a_corpus_through_keras_is_a_family_of_its_own_and_can_be_retrained(
    models: Path, tmp_path: Path, photographs: list[np.ndarray]
) -> None:
    corpus = write_corpus(tmp_path / "corpus", photographs, 60)
    words = ("-m", "trainer", "bottlenecks", corpus, "--allow-missing", "--keras", models / "good.keras", "--json")
    found = json.loads(run(*words, "--batch", 7, "--out", tmp_path / "a", "--workers", 1).stdout)
    assert found["family"] == "keras-tensorflow" and found["added"] == 118
    again = json.loads(run(*words, "--out", tmp_path / "a").stdout)
    assert again["added"] == 118 and again["examples"] == 118
    run(*words, "--batch", 7, "--out", tmp_path / "b", "--workers", 4)
    assert [each[:5] for each in contents(tmp_path / "a")] == [each[:5] for each in contents(tmp_path / "b")]
    assert json.loads(lastlayer("--state", tmp_path / "a", "--json", "retrain").stdout)["top1"] > 0.5
    mixed = run("-m", "trainer", "bottlenecks", corpus, "--out", tmp_path / "a", "--workers", 1, expect=5)
    assert "must not be mixed" in mixed.stderr and "Traceback" not in mixed.stderr


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ("unpooled", "pool its last map"),
        ("two", "has 2 inputs and 1 outputs"),
        ("free", "of any size: say which by --size"),
    ],
)
def test_a_model_that_is_no_backbone_is_refused(
    model: str, complaint: str, models: Path, tmp_path: Path, photographs: list[np.ndarray]
) -> None:
    corpus = write_corpus(tmp_path / "corpus", photographs, 8)
    words = ("-m", "trainer", "bottlenecks", corpus, "--out", tmp_path / "o", "--keras", models / f"{model}.keras")
    ended = run(*words, expect=2)
    assert complaint in ended.stderr and "Traceback" not in ended.stderr


def test_the_studys_network_is_measured_on_each_device_and_compared(tmp_path: Path) -> None:
    """With a small one in its place, as if it had been made before."""
    pytest.importorskip("sklearn", reason="the pictures are those inside scikit-learn")
    kept = tmp_path / "kept" / "lastlayer"
    kept.mkdir(parents=True)
    run("-c", STUDY, kept)
    networks = ["inception_v3_int8", "inception_v3_float", "inception_v3_keras"]
    out = tmp_path / "pc.json"
    run(
        *("-m", "trainer", "bench", "--quick", "--scratch", tmp_path, "--out", out, "--networks", *networks),
        XDG_CACHE_HOME=str(kept.parent),
    )
    document = json.loads(out.read_text())
    assert document["role"] == "trainer"
    assert [network["name"] for network in document["networks"]] == networks
    assert [network["dtype"] for network in document["networks"]] == ["int8", "float32", "float32"]
    assert document["networks"][2]["runtime"] == "keras-tensorflow"
    assert {path.name for path in tmp_path.iterdir()} == {"kept", "pc.json"}
    run("-m", "trainer", "compare", out, "--out", tmp_path / "report")
    assert "pc: inception_v3_keras" in (tmp_path / "report" / "report.html").read_text()
