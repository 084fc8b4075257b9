"""The bundles in models/ are what their manifests say. Needs no trainer extra."""

import json

import numpy as np
import pytest

from agent.vision.backbone import Backbone, describe
from agent.vision.bundle import SHIPPED, load_bundle, sha256_of, shipped

pytestmark = pytest.mark.parametrize("name", shipped())


def test_the_manifest_describes_the_model_beside_it(name: str) -> None:
    bundle = load_bundle(SHIPPED / name)
    assert bundle.name == name
    assert bundle.sha256 == sha256_of(SHIPPED / name / "model.tflite")
    described = describe(bundle.model)
    assert (described["height"], described["width"]) == (bundle.height, bundle.width)
    assert described["size"] == bundle.size
    assert described["input_dtype"] == "uint8"
    assert described["output_dtype"] == "int8"


def test_it_is_free_and_every_source_is_named_with_its_terms(name: str) -> None:
    manifest = json.loads((SHIPPED / name / "manifest.json").read_text("utf-8"))
    assert manifest["sources"]
    assert all(source["name"] and source["from"] and source["terms"] for source in manifest["sources"])
    assert not any("non-commercial" in source["terms"] for source in manifest["sources"])
    assert manifest["licence"].startswith("Apache-2.0")
    assert manifest["command"].startswith("lastlayer-trainer export efficientnet-lite0 ")
    about = json.loads((SHIPPED / name / "about.json").read_text("utf-8"))
    assert {key: manifest[key] for key in about} == about


def test_photographs_of_different_things_get_different_bottlenecks(name: str, photographs: list[np.ndarray]) -> None:
    backbone = Backbone(load_bundle(SHIPPED / name))
    height, width = backbone.bundle.height, backbone.bundle.width
    first, second = (
        backbone.bottleneck(np.ascontiguousarray(photograph[:height, :width])).astype(np.float32) - backbone.zero_point
        for photograph in photographs
    )
    cosine = first @ second / (np.linalg.norm(first) * np.linalg.norm(second))
    assert cosine < 0.9
    # One scale serves all columns: no part of the bottleneck is crushed into a few steps.
    assert min(len(np.unique(part)) for part in np.array_split(first, 4)) > 20


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_picture_gives_the_same_bottleneck(name: str, threads: int, photographs: list[np.ndarray]) -> None:
    bundle = load_bundle(SHIPPED / name)
    image = np.ascontiguousarray(photographs[0][100 : 100 + bundle.height, 200 : 200 + bundle.width])
    one, other = (Backbone(bundle, threads=threads).bottleneck(image) for _ in range(2))
    np.testing.assert_array_equal(one, other)
