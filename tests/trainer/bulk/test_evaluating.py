from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("distributed", reason="the trainer extra is not installed")

from agent.learning.pictures.labelled import LabelledPicture
from agent.learning.solving.head import Head
from agent.reporting.timing import Timings
from trainer.bulk.embedding import Embedded
from trainer.bulk.evaluating import Table
from trainer.cli import main


def picture(label: str) -> LabelledPicture:
    return LabelledPicture(f"{label}.jpg", label, None, Path("x").read_bytes)


def test_unknown_labels_and_unreadable_pictures_are_counted_apart() -> None:
    head = Head(("a", "b"), np.eye(2, dtype=np.float32), np.zeros(2, np.float32), "id")
    pictures = [picture(label) for label in ("a", "stranger", "b", "a", "b")]
    table = Table(head, pictures, Timings(node="test", runtime="test", role="trainer"))
    rows = np.array([[3, 0], [3, 0], [0, 3], [0, 0], [3, 0]], np.uint8)
    ids = ["1", "2", "3", "", "5"]
    table.take(Embedded(ids[:2], [0, 0], rows[:2]))
    table.take(Embedded(ids[2:], [0, 0, 0], rows[2:], {1: "torn"}))
    outcome = table.outcome()
    assert outcome.evaluation is not None
    assert outcome.evaluation.images == 3
    assert outcome.evaluation.top1 == pytest.approx(2 / 3)
    assert outcome.unknown_labels == {"stranger": 1}
    assert outcome.failed == {"a.jpg": "torn"}


def test_where_no_label_is_known_there_are_no_figures() -> None:
    head = Head(("a", "b"), np.eye(2, dtype=np.float32), np.zeros(2, np.float32), "id")
    table = Table(head, [picture("stranger")], Timings(node="test", runtime="test", role="trainer"))
    table.take(Embedded(["1"], [0], np.zeros((1, 2), np.uint8)))
    assert table.outcome().evaluation is None


def test_a_head_of_another_backbone_is_refused(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = Head(("a", "b"), np.zeros((2, 2), np.float32), np.zeros(2, np.float32), "ab" * 16)
    (tmp_path / "head.npz").write_bytes(head.to_bytes())
    source = state.parent / "pictures"
    (source / "a").mkdir(parents=True)
    (source / "a" / "1.jpg").touch()
    assert main(["evaluate", str(source), "--head", str(tmp_path / "head.npz"), "--workers", "1"]) == 5
    assert "made with another backbone" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--state", "x", "--head", __file__]])
def test_either_a_state_or_a_head_is_asked_for(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "x", *words]) == 2
    assert "either --state or --head" in capsys.readouterr().err
