"""Retrainings whose child is another program, and who hears what they say of themselves."""

import sys
import tempfile
from pathlib import Path
from typing import Any, Protocol

import pytest

from agent.learning.running.retraining import Retraining
from agent.learning.running.turns import Turns
from tests.daemon import PATIENCE_S
from tests.waiting import until

RESULT = {"version": "2", "top1": 1.0, "solver": "lda", "accepted": True, "written_bytes": 7, "gate": {"reason": "ok"}}
PROGRESS, PHASES = {"event": "progress", "step": 1}, {"event": "phases", "phases": {"train": 1}}


def saying(result: dict[str, Any], *events: dict[str, Any]) -> str:
    """A program that says events on stderr, and a result on stdout."""
    return f"""
import json, sys
for event in {events!r}:
    print(json.dumps(event), file=sys.stderr, flush=True)
print(json.dumps({result!r}))
"""


class Listening:
    """Hears what a retraining says of itself; where it fails, it does so each time."""

    def __init__(self, fails: bool = False) -> None:
        self._fails = fails
        self.statuses: list[dict[str, Any]] = []
        self.phases: list[dict[str, Any]] = []
        self.written_bytes: list[int] = []

    def follow(self, retraining: Retraining) -> dict[str, Any]:
        """Begin one; its status once it has ended."""
        retraining.start(
            on_progress=lambda status: self._hear(self.statuses, status),
            on_phases=lambda phases: self._hear(self.phases, phases),
            on_done=lambda written: self._hear(self.written_bytes, written),
        )
        until(lambda: not retraining.is_under_way, PATIENCE_S)
        return retraining.status()

    def _hear(self, heard: list[Any], said: Any) -> None:
        heard.append(said)
        if self._fails:
            raise ValueError("no ears")


class Play(Protocol):
    def __call__(self, program: str, turns: Turns | None = None) -> Retraining:
        """A retraining whose child is another program."""


@pytest.fixture
def playing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    def play(program: str, turns: Turns | None = None) -> Retraining:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        python, played = folder / "python", folder / "program.py"
        played.write_text(program)
        python.write_text(f"#!/bin/sh\nexec {sys.executable} {played}\n")
        python.chmod(0o755)
        with monkeypatch.context() as patched:
            patched.setattr(sys, "executable", str(python))
            return Retraining(folder, [], turns)

    return play
