import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("threadpoolctl", reason="the trainer extra is not installed")
pytest.importorskip("matplotlib", reason="the trainer extra is not installed")

from agent.cache import Cache, CachedExamples
from agent.errors import ConfigError, StateError, TrainingError
from agent.learning.training.settings import Settings
from agent.learning.training.train import train
from agent.reporting.timing import Stopwatch
from tests.trainer.sweeping.caches import write_cache
from trainer.cli import main
from trainer.sweeping import sweep as sweeping
from trainer.sweeping.sweep import GRID, Extent, Setting, parsed, shared_out, sweep

EXTENT = Extent(batch=32, steps=120, validate_every=40)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cache(tmp_path_factory.mktemp("sweep") / "state")


@pytest.mark.parametrize("threads", [1, 2, 6])
def test_each_setting_learns_as_if_it_were_alone(state: Path, threads: int) -> None:
    curves = sweep(state / "cache", GRID, EXTENT, Stopwatch(), int, threads)
    assert [curve.setting for curve in curves] == list(GRID)
    for curve in curves:
        setting = curve.setting
        settings = Settings(setting.solver, setting.learning_rate, batch=32, steps=120, validate_every=40)
        with Cache.read(state / "cache") as cache:
            alone = train(cache.examples(), settings)
        assert [point.step for point in curve.points] == [point.step for point in alone.curves] == [40, 80, 120]
        np.testing.assert_allclose(
            [point.loss for point in curve.points], [point.loss for point in alone.curves], rtol=1e-3
        )
        for found, expected in zip(curve.points, alone.curves, strict=True):
            assert found.val.top1 == pytest.approx(expected.val_top1, abs=0.02)
            assert found.val.top5 == pytest.approx(expected.val_top5, abs=0.02)


def test_the_examples_are_read_once_for_all_settings(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "MEMORY_BYTES", 1)  # they are streamed
    read: dict[int, int] = {}
    real = CachedExamples.read

    def counted(source: CachedExamples, rows: Any, out: Any) -> Any:
        read[len(settings)] = read.get(len(settings), 0) + len(rows)
        return real(source, rows, out)

    monkeypatch.setattr(CachedExamples, "read", counted)
    for settings in (GRID[:1], GRID):
        sweep(state / "cache", settings, EXTENT, Stopwatch(), int, 2)
    assert read[1] == read[6] > 0


def test_a_setting_that_diverges_does_not_spoil_the_others(state: Path) -> None:
    wild = Setting("sgd", 3e38)
    curves = sweep(state / "cache", [wild, *GRID[:2]], EXTENT, Stopwatch(), int, 1)
    alone = sweep(state / "cache", GRID[:2], EXTENT, Stopwatch(), int, 1)
    assert curves[0].diverged and not curves[0].points
    for found, expected in zip(curves[1:], alone, strict=True):
        np.testing.assert_allclose(
            [point.loss for point in found.points], [point.loss for point in expected.points], rtol=1e-3
        )


def test_shares_are_as_dear_as_each_other() -> None:
    for share in shared_out(GRID, 3):
        assert sorted(setting.solver for setting in share) == ["adam", "sgd"]


@pytest.mark.parametrize(
    "text", ["", "adam", "sgd:0.1:0.1", "adam:0", "adam:x", "adam:inf", "rmsprop:0.1", "adam:1:2:3"]
)
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no setting"):
        parsed(text)


def test_settings_are_parsed_and_said_as_retrain_takes_them() -> None:
    assert parsed("sgd:0.5").as_words() == "--solver sgd --learning-rate 0.5"
    assert parsed("adam:0.01").as_words() == "--solver adam --learning-rate 0.01 --epsilon 0.1"
    assert parsed("adam:0.001:1e-8") == Setting("adam", 0.001, 1e-8)
    assert str(parsed("adam:0.01")) == "Adam 0.01"


def test_a_cache_without_validation_or_without_labels_is_refused(tmp_path: Path, state: Path) -> None:
    with pytest.raises(StateError, match="holds no examples"):
        sweeping.cache_of(tmp_path)
    with pytest.raises(TrainingError, match="at least two labels"):
        sweep(write_cache(tmp_path, count=20, classes=1) / "cache", GRID, EXTENT, Stopwatch(), int)
    assert sweeping.cache_of(state / "cache") == sweeping.cache_of(state)


def test_the_command_writes_figures_and_says_what_to_take(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", str(state), "--out", str(tmp_path / "out"), "--steps", "200", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [curve["name"] for curve in document["curves"]] == [str(setting) for setting in GRID]
    assert document["picked"] in [str(setting) for setting in GRID]
    assert document["command"].startswith(f"lastlayer --state {state} retrain --solver ")
    assert set(document["figures"]) == {path.name for path in (tmp_path / "out").glob("*.png")}
    written = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert written["curves"] == document["curves"]


@pytest.mark.slow
def test_processes_share_states_and_settings(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("distributed", reason="the trainer extra is not installed")
    other = write_cache(tmp_path / "other", seed=1)
    words = ["sweep", str(state), str(other), "--steps", "60", "--json"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    here = json.loads(capsys.readouterr().out)
    assert main([*words, "--out", str(tmp_path / "b"), "--workers", "2"]) == 0
    there = json.loads(capsys.readouterr().out)
    for one, two in zip(here["sweeps"], there["sweeps"], strict=True):
        assert one["picked"] == two["picked"]
        losses = [
            np.array([[point["loss"] for point in each["points"]] for each in found["curves"]]) for found in (one, two)
        ]
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)


def test_the_effort_of_the_study_is_the_default() -> None:
    assert Extent() == replace(EXTENT, batch=100, steps=10_000, validate_every=500)
