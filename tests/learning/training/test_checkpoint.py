from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.errors import TrainingError
from agent.learning.training.checkpoint import Checkpoint
from agent.learning.training.examples import ArrayExamples
from agent.learning.training.progress import Progress
from agent.learning.training.settings import Settings
from agent.learning.training.train import train
from tests.learning.training.test_train import OnFlash, blobs

ADAM = Settings(solver="adam", steps=300, validate_every=100)


def killed_after(steps: int) -> Callable[[], bool]:
    asked = iter(range(steps + 1))
    return lambda: next(asked, None) is None


def kill(source: Any, settings: Settings, path: Path, steps: int) -> None:
    with pytest.raises(TrainingError, match="stopped"):
        train(source, settings, should_stop=killed_after(steps), checkpoint=Checkpoint(path, every_s=0))


@pytest.mark.parametrize(
    "settings", [ADAM, replace(ADAM, solver="sgd"), replace(ADAM, memory_bytes=10_000), Settings()]
)
@pytest.mark.parametrize("after", [37, 150])
def test_a_killed_training_ends_where_it_would_have_ended(settings: Settings, after: int, tmp_path: Path) -> None:
    source = OnFlash(blobs()[0])
    expected = train(source, settings)
    kill(source, settings, tmp_path / "training", after)
    assert (tmp_path / "training").exists()
    said: list[Progress] = []
    resumed = train(source, settings, on_progress=said.append, checkpoint=Checkpoint(tmp_path / "training"))
    assert resumed.head.to_bytes() == expected.head.to_bytes()
    assert resumed.curves == expected.curves
    if settings.solver != "auto":
        assert resumed.phases["training"]["count"] < 300 - after + 10


def test_other_examples_and_other_settings_begin_anew(tmp_path: Path) -> None:
    source, _ = blobs()
    x = source.read(np.arange(source.count), np.empty((source.count, source.size), np.float32))
    relabelled = np.where(np.arange(source.count) == 700, (source.targets + 1) % 5, source.targets)
    of_other_frames = ArrayExamples(x, source.targets, source.labels, source.splits, backbone_id="b")
    of_other_frames.frame_ids = source.frame_ids + np.uint64(1)
    others: list[tuple[Any, Settings]] = [
        (source, replace(ADAM, seed=1)),
        (source, replace(ADAM, learning_rate=0.02)),
        (source, replace(ADAM, steps=301)),
        (source, replace(ADAM, standardise=True)),
        (ArrayExamples(x, relabelled, source.labels, source.splits, backbone_id="b"), ADAM),
        (ArrayExamples(x, source.targets, source.labels, source.splits, backbone_id="c"), ADAM),
        (of_other_frames, ADAM),
    ]
    for other, settings in others:
        Checkpoint(tmp_path / "training").clear()
        kill(source, ADAM, tmp_path / "training", 50)
        training = train(other, settings, checkpoint=Checkpoint(tmp_path / "training"))
        assert training.phases["training"]["count"] == settings.steps


def test_a_damaged_or_unwritable_checkpoint_costs_time_and_nothing_else(tmp_path: Path) -> None:
    source, _ = blobs()
    path = tmp_path / "training"
    kill(source, ADAM, path, 50)
    path.write_bytes(path.read_bytes()[:-9])
    assert train(source, ADAM, checkpoint=Checkpoint(path)).phases["training"]["count"] == 300
    assert train(source, ADAM, checkpoint=Checkpoint(tmp_path / "none" / "training", every_s=0)).curves
    Checkpoint(path).clear()
    assert not path.exists()
    Checkpoint(path).clear()


def test_a_short_training_writes_none(tmp_path: Path) -> None:
    train(blobs()[0], ADAM, checkpoint=Checkpoint(tmp_path / "training"))
    assert not any(tmp_path.iterdir())
