"""Ctrl-C as a terminal sends it, to all processes of a command, and SIGTERM: at several instants, once and twice."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.conftest import write_class_folders
from tests.daemon import ROOT
from tests.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="the trainer extra is not installed"),
]

SOON_S = 60.0  # of a busy machine


@pytest.fixture(scope="module")
def pictures(photographs: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_class_folders(tmp_path_factory.mktemp("interrupted") / "pictures", photographs, 400)


class Command:
    """One of the trainer's, in a group of processes of its own, with a folder of its own for what is passing."""

    def __init__(self, scratch: Path, *words: object) -> None:
        scratch.mkdir()
        self.scratch = scratch
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trainer", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(scratch)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.Error:
            return []

    def assert_ended(self, code: int, line: str) -> None:
        """One line, the code, and nothing left behind."""
        children = self.children()
        stdout, stderr = self.process.communicate(timeout=SOON_S)
        assert (self.process.returncode, stdout) == (code, ""), stderr
        assert stderr.splitlines() == [line]
        assert not psutil.wait_procs(children, timeout=5)[1]
        assert not list(self.scratch.iterdir())


@pytest.fixture
def bottlenecks(pictures: Path, tmp_path: Path) -> Iterator[Command]:
    command = Command(tmp_path / "scratch", "bottlenecks", pictures, "--out", tmp_path / "out", "--workers", 2)
    yield command
    if command.process.poll() is None:
        command.process.kill()
        command.process.communicate()


INTERRUPTED = "lastlayer-trainer bottlenecks: interrupted"


@pytest.mark.parametrize("after_s", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_while_workers_start_is_one_line(bottlenecks: Command, after_s: float, times: int) -> None:
    until(lambda: len(bottlenecks.children()) >= 2, SOON_S)  # the first is there, beside multiprocessing's tracker
    time.sleep(after_s)
    for _ in range(times):
        os.killpg(bottlenecks.process.pid, signal.SIGINT)
        time.sleep(0.1)
    bottlenecks.assert_ended(130, INTERRUPTED)


@pytest.mark.parametrize("whom", [os.kill, os.killpg])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_while_it_computes_is_one_line(
    bottlenecks: Command, number: signal.Signals, whom: object, tmp_path: Path
) -> None:
    assert callable(whom)
    until(lambda: any((tmp_path / "out" / "cache").glob("*.seg")) or bottlenecks.process.poll() is not None, SOON_S)
    whom(bottlenecks.process.pid, number)
    bottlenecks.assert_ended(128 + number, INTERRUPTED)


def test_a_sweep_on_processes_ends_likewise(state: Path, tmp_path: Path) -> None:
    words = ("sweep", state, "--out", tmp_path / "out", "--steps", 1_000_000, "--workers", 2)
    command = Command(tmp_path / "scratch", *words)
    until(lambda: len(command.children()) >= 3, SOON_S)
    time.sleep(1.0)
    os.killpg(command.process.pid, signal.SIGINT)
    command.assert_ended(130, "lastlayer-trainer sweep: interrupted")
