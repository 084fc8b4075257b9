"""A frame is looked at by several views: decoded once, by each backbone once where they want the same."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agent.learning.solving.head import Head
from agent.records import Frame
from agent.region import Cut
from agent.reporting.timing import Timings
from agent.vision.backbone import Backbone
from agent.vision.classifier import Classifier, View, look
from agent.vision.importing import import_model
from agent.vision.unchanged import Unchanged

NETWORKS = Path(__file__).parent / "networks"
LEFT, RIGHT = Cut((0.0, 0.0, 0.5, 1.0)), Cut((0.5, 0.0, 0.5, 1.0))


@pytest.fixture
def timings() -> Timings:
    return Timings(node="board", runtime="test")


@pytest.fixture
def backbone(tmp_path: Path) -> Backbone:
    backbone = Backbone(import_model(NETWORKS / "mean_float32.tflite", tmp_path / "bundle"))
    counted = backbone.bottleneck
    calls: list[int] = []

    def count(image: np.ndarray) -> Any:
        calls.append(1)
        return counted(image)

    backbone.bottleneck = count  # type: ignore[method-assign]
    backbone.calls = calls  # type: ignore[attr-defined]
    return backbone


def halves(left: int, right: int, camera: str = "yard") -> Frame:
    pixels = np.full((60, 80, 3), left, np.uint8)
    pixels[:, 40:] = right
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return Frame.pushed(file.getvalue(), camera)


def brightness(classifier: Classifier) -> Head:
    """Says whether it is light or dark."""
    size = classifier.backbone.size
    weights = np.stack([np.full(size, 9.0), np.full(size, -9.0)]).T.astype(np.float32)
    return Head(
        ("light", "dark"),
        weights,
        np.array([-4.5 * size, 4.5 * size], np.float32),
        classifier.backbone.backbone_id,
    )


def answering(backbone: Backbone, timings: Timings) -> Classifier:
    classifier = Classifier(backbone, timings)
    classifier.put_into_service("1", brightness(classifier))
    return classifier


def test_each_view_answers_for_its_part_of_the_frame(backbone: Backbone, timings: Timings) -> None:
    spaces = answering(backbone, timings)
    views = [View(spaces, LEFT, "spaces", "left", "yard"), View(spaces, RIGHT, "spaces", "right", "yard")]
    seen = look(halves(255, 0), views, timings)
    said = [(each.result.task, each.result.view, each.result.predictions[0].label, each.cut) for each in seen]
    assert said == [("spaces", "left", "light", LEFT), ("spaces", "right", "dark", RIGHT)]
    counts = {report.phase: report.count for report in timings.since_start()}
    assert counts == {"decode": 1, "bottleneck": 2, "session_run": 2, "result_processing": 2}
    assert all(each.result.timings_ms.keys() == counts.keys() for each in seen)
    assert seen[0].result.timings_ms["decode"] == seen[1].result.timings_ms["decode"]


def test_tasks_that_want_the_same_of_one_backbone_share_its_bottleneck(backbone: Backbone, timings: Timings) -> None:
    views = [View(answering(backbone, timings), task=name, name="whole") for name in ("gate", "dog", "rain")]
    seen = look(halves(255, 255), views, timings)
    assert [each.result.predictions[0].label for each in seen] == ["light"] * 3
    assert len(backbone.calls) == 1  # type: ignore[attr-defined]
    assert all(each.bottleneck is seen[0].bottleneck for each in seen)


def test_a_view_without_a_name_is_called_by_the_frame_s_camera(backbone: Backbone, timings: Timings) -> None:
    view = View(Classifier(backbone, timings), task="gate")
    assert look(halves(0, 0), [view], timings)[0].result.view == "yard"
    assert look(halves(0, 0, ""), [view], timings)[0].result.view == ""


def test_what_shows_nothing_new_is_answered_as_before_and_costs_no_run(backbone: Backbone, timings: Timings) -> None:
    watching = answering(backbone, timings)
    views = [
        View(watching, LEFT, "gate", "gate", "yard", Unchanged(0.04, 60.0)),
        View(watching, RIGHT, "road", "road", "yard"),
    ]
    first, second, third = (look(halves(*levels), views, timings) for levels in ((255, 0), (250, 255), (0, 0)))
    assert [each.result.skipped for each in (*first, *second, *third)] == [False, False, True, False, False, False]
    assert second[0].result.frame_id == first[0].result.frame_id, "of which can be said what it shows"
    assert second[0].result.predictions == first[0].result.predictions
    assert "bottleneck" not in second[0].result.timings_ms
    assert "compare" in second[0].result.timings_ms
    assert third[0].result.predictions[0].label == "dark"
    assert len(backbone.calls) == 5  # type: ignore[attr-defined]


def test_a_frame_that_is_to_be_fresh_is_not_passed_by(backbone: Backbone, timings: Timings) -> None:
    view = View(answering(backbone, timings), unchanged=Unchanged(0.04, 60.0))
    for fresh in (False, True):
        (seen,) = look(halves(255, 255), [view], timings, fresh=fresh)
        assert not seen.result.skipped


def test_a_picture_that_is_embedded_is_cut_as_a_view_cuts_it(backbone: Backbone, timings: Timings) -> None:
    classifier, frame = Classifier(backbone, timings), halves(255, 0)
    bottleneck, _ = classifier.embed(frame.payload, RIGHT)
    np.testing.assert_array_equal(bottleneck, classifier.classify(frame, cut=RIGHT).bottleneck)
    assert not np.array_equal(bottleneck, classifier.embed(frame.payload, LEFT)[0])
