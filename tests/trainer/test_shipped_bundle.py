"""The bundle in models/ is what its manifest says. Needs no trainer extra."""

import json
from pathlib import Path

import numpy as np
import pytest

from agent.vision.backbone import Backbone, describe
from agent.vision.bundle import load_bundle, sha256_of

FOLDER = Path(__file__).resolve().parents[2] / "models" / "tinyresnet_96"


def test_the_manifest_describes_the_model_beside_it() -> None:
    bundle = load_bundle(FOLDER)
    assert bundle.name == FOLDER.name
    assert bundle.sha256 == sha256_of(FOLDER / "model.tflite")
    described = describe(bundle.model)
    assert (described["height"], described["width"]) == (bundle.height, bundle.width) == (96, 96)
    assert described["size"] == bundle.size == 384
    assert described["input_dtype"] == "uint8"
    assert described["output_dtype"] == "int8"


def test_every_source_is_named_with_its_terms() -> None:
    manifest = json.loads((FOLDER / "manifest.json").read_text("utf-8"))
    assert len(manifest["sources"]) == 3
    assert all(source["name"] and source["from"] and source["terms"] for source in manifest["sources"])
    assert manifest["licence"]
    assert manifest["command"].startswith("lastlayer-trainer export ")
    about = json.loads((FOLDER / "about.json").read_text("utf-8"))
    assert {key: manifest[key] for key in about} == about


def test_photographs_of_different_things_get_different_bottlenecks(photographs: list[np.ndarray]) -> None:
    backbone = Backbone(load_bundle(FOLDER))
    first, second = (
        backbone.bottleneck(np.ascontiguousarray(photograph[:96, :96])).astype(np.float32) - backbone.zero_point
        for photograph in photographs
    )
    cosine = first @ second / (np.linalg.norm(first) * np.linalg.norm(second))
    assert cosine < 0.9
    # One scale serves all columns: neither half of the bottleneck is crushed into a few steps.
    assert min(len(np.unique(half)) for half in np.split(first, 2)) > 20


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_picture_gives_the_same_bottleneck(threads: int, photographs: list[np.ndarray]) -> None:
    image = np.ascontiguousarray(photographs[0][100:196, 200:296])
    one, other = (Backbone(load_bundle(FOLDER), threads=threads).bottleneck(image) for _ in range(2))
    np.testing.assert_array_equal(one, other)
