"""Ctrl-C as a terminal sends it, to all processes of a command."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import write_class_folders
from tests.daemon import PATIENCE_S, ROOT, lastlayer
from tests.waiting import until


def started(*words: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "agent", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def interrupted(process: "subprocess.Popen[str]", number: signal.Signals = signal.SIGINT) -> list[str]:
    """The lines on stderr of one that is interrupted twice."""
    for _ in range(2):
        os.killpg(process.pid, number)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + number, stderr
    return stderr.splitlines()


def test_learning_ends_in_one_line_and_what_was_learnt_stays(photographs: list[np.ndarray], tmp_path: Path) -> None:
    pictures, state = write_class_folders(tmp_path / "pictures", photographs, 400), tmp_path / "state"
    process = started("--state", state, "learn", pictures)
    until(lambda: any((state / "cache").glob("*.seg")) or process.poll() is not None, PATIENCE_S)
    assert interrupted(process) == ["lastlayer learn: interrupted"]
    lastlayer("--state", state, "cache", "check")


def test_retraining_ends_in_one_line(state: Path) -> None:
    words = ("--solver", "adam", "--steps", 10_000_000)
    process = started("--state", state, "retrain", *words)
    maps = Path(f"/proc/{process.pid}/maps")
    until(lambda: "_multiarray" in maps.read_text(), PATIENCE_S)  # it has numpy, and so is past its start
    assert interrupted(process)[-1] == "lastlayer retrain: interrupted"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_measuring_leaves_nothing_on_flash(number: signal.Signals, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the pictures are those inside scikit-learn")
    process = started("--state", tmp_path / "state", "bench", "--backbone", "small")
    until(lambda: any(tmp_path.glob(".lastlayer-bench-*")) or process.poll() is not None, PATIENCE_S)
    assert interrupted(process, number)[-1] == "lastlayer bench: interrupted"
    assert not list(tmp_path.iterdir())


def test_pushing_ends_in_one_line(jpegs: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpegs[0])
    process = started("push", tmp_path / "a.jpg", "--url", "http://127.0.0.1:9", "--timeout", 600)
    assert process.stderr is not None
    assert "trying again" in process.stderr.readline()
    assert interrupted(process) == ["lastlayer push: interrupted"]
