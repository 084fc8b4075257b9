"""Retraining in a child process, by the command that a person would type.

The child goes after everyone else and uses one BLAS thread, so that frames are answered while it runs. It pauses where
it is told to, between two steps (control.py). It can be killed at any instant, because the head store only ever gains
whole heads; it ends by itself when this process does.
"""

import contextlib
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.board.children import environment
from agent.errors import BusyError, RefusedHeadError, TrainingError
from agent.learning.running.control import PAUSE, RESUME
from agent.reporting.host import lower_priority

log = logging.getLogger(__name__)

CANCEL_S = 10.0
_STDERR_LINES = 20
_KEPT = ("state", "started_ms", "pauses", "reason")  # of the status, while it makes progress


class Retraining:
    """At most one child at a time, watched by a thread named `retraining`."""

    def __init__(self, state: Path, options: list[str]) -> None:
        self._command = [sys.executable, "-m", "agent", "--state", str(state)]
        self._command += ["retrain", "--json", "--controlled", *options]
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._on_progress: Callable[[dict[str, Any]], None] = lambda status: None
        self._status: dict[str, Any] = {"state": "idle"}
        self._cancelled = False

    @property
    def is_running(self) -> bool:
        """Whether it computes at this moment."""
        return bool(self._status["state"] == "running")

    @property
    def is_under_way(self) -> bool:
        """Whether it runs or pauses."""
        return self._status["state"] in ("running", "paused")

    def start(
        self,
        *,
        on_progress: Callable[[dict[str, Any]], None],
        on_phases: Callable[[dict[str, Any]], None],
        on_done: Callable[[int], None],
    ) -> None:
        """Begin one.

        `on_progress` is called with each change of its status, in their order, and must not call back. In the watching
        thread `on_phases` is called with what its Timings drained, and `on_done` when its head is in the store, with
        the bytes that were written to flash for it.
        Raises BusyError while one is under way.
        """
        with self._lock:
            if self.is_under_way:
                raise BusyError("a retraining is running already: wait for it, GET /v1/retrain tells how far it is")
            self._status = {"state": "running", "started_ms": int(time.time() * 1000), "pauses": 0}
            self._cancelled = False
            self._on_progress = on_progress
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1"),
            )
            lower_priority(self._child.pid)
            arguments = self._child, on_phases, on_done
            self._thread = threading.Thread(target=self._watch, args=arguments, name="retraining", daemon=True)
            self._thread.start()

    def status(self) -> dict[str, Any]:
        with self._lock:
            return dict(self._status)

    def pause(self, reason: str) -> None:
        """Let it wait, before its next step at the latest. `reason` is reported."""
        with self._lock:
            paused = self._status["state"] == "paused"
            if not (paused or self.is_running) or self._status.get("reason") == reason:
                return
            if not paused:
                self._say(PAUSE)
                log.info("the retraining pauses: %s", reason)
            pauses = self._status["pauses"] + (not paused)
            self._become({**self._status, "state": "paused", "reason": reason, "pauses": pauses})

    def resume(self) -> None:
        """Let it go on, if it pauses."""
        with self._lock:
            if self._status["state"] != "paused":
                return
            self._say(RESUME)
            log.info("the retraining goes on")
            self._become({key: value for key, value in self._status.items() if key != "reason"} | {"state": "running"})

    def cancel(self) -> dict[str, Any]:
        """End it, and wait for that; its status then. Raises TrainingError where none is under way."""
        with self._lock:
            if not self.is_under_way:
                raise TrainingError("no retraining is running that could be cancelled")
            self._cancelled = True
        self.stop(CANCEL_S)
        return self.status()

    def stop(self, timeout: float) -> None:
        """Kill the child, if there is one. Nothing is lost by it but its time."""
        with self._lock:
            child, thread = self._child, self._thread
        if child is not None and child.poll() is None:
            child.kill()
        if thread is not None:
            thread.join(timeout)

    def _say(self, command: str) -> None:
        if self._child is not None and self._child.stdin is not None:
            with contextlib.suppress(OSError, ValueError):  # it has just ended
                self._child.stdin.write(f"{command}\n")
                self._child.stdin.flush()

    def _watch(
        self,
        child: subprocess.Popen[str],
        on_phases: Callable[[dict[str, Any]], None],
        on_done: Callable[[int], None],
    ) -> None:
        said: list[str] = []
        assert child.stdin is not None and child.stderr is not None and child.stdout is not None
        with self._lock:
            self._become(self._status)
        with child.stderr, child.stdout:
            for line in child.stderr:
                report = _parsed(line) or {}
                event = report.pop("event", None)
                if event == "progress":
                    self._update(report)
                elif event == "phases":
                    on_phases(report["phases"])
                else:
                    said = [*said, line.strip()][-_STDERR_LINES:]
            result = _parsed(child.stdout.read())
        code = child.wait()
        with contextlib.suppress(OSError):
            child.stdin.close()
        if code in (0, RefusedHeadError.exit_code) and result is not None:
            on_done(result["written_bytes"])  # before the status says so: who reads "done" finds the head in service
            figures = {key: result[key] for key in ("top1", "solver", "accepted")}
            self._end({"state": "done", "head": result["version"], **figures, "reason": result["gate"]["reason"]})
        elif self._cancelled:
            self._end({"state": "cancelled"})
        else:
            reason = said[-1] if said else f"it ended with {code}"
            log.warning("the retraining failed: %s", reason)
            self._end({"state": "failed", "error": reason})

    def _update(self, progress: dict[str, Any]) -> None:
        """A pause stays one: what the child says then, it said before it heard of it."""
        with self._lock:
            kept: dict[str, Any] = {key: self._status[key] for key in _KEPT if key in self._status}
            self._become({**kept, **progress})

    def _end(self, outcome: dict[str, Any]) -> None:
        with self._lock:
            self._become({key: self._status[key] for key in ("started_ms", "pauses")} | outcome)

    def _become(self, status: dict[str, Any]) -> None:
        self._status = status
        self._on_progress(dict(status))


def _parsed(text: str) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError):
        value = json.loads(text)
        if isinstance(value, dict):
            return value
    return None
