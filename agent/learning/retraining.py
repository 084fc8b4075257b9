"""Retraining in a child process, by the command that a person would type.

The child is niced and uses one BLAS thread, so that frames are answered while it runs;
it can be killed at any instant, because the head store only ever gains whole heads.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.children import environment
from agent.errors import BusyError

log = logging.getLogger(__name__)

NICENESS = 10
_STDERR_LINES = 20


class Retraining:
    """At most one child at a time, watched by a thread named `retraining`."""

    def __init__(self, state: Path, options: list[str]) -> None:
        self._command = [sys.executable, "-m", "agent", "--state", str(state), "retrain", "--json", *options]
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._status: dict[str, Any] = {"state": "idle"}

    def start(
        self,
        *,
        on_progress: Callable[[dict[str, Any]], None],
        on_phases: Callable[[dict[str, Any]], None],
        on_done: Callable[[], None],
    ) -> None:
        """Begin one.

        In the watching thread `on_progress` is called with each change of its status, `on_phases` with what its
        Timings drained, and `on_done` when its head is in the store. Raises BusyError while one is running.
        """
        with self._lock:
            if self._status["state"] == "running":
                raise BusyError("a retraining is running already: wait for it, GET /v1/retrain tells how far it is")
            self._status = {"state": "running", "started_ms": int(time.time() * 1000)}
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1"),
            )
            with contextlib.suppress(ProcessLookupError):  # it may have ended already
                os.setpriority(os.PRIO_PROCESS, self._child.pid, NICENESS)
            arguments = self._child, on_progress, on_phases, on_done
            self._thread = threading.Thread(target=self._watch, args=arguments, name="retraining", daemon=True)
            self._thread.start()

    def status(self) -> dict[str, Any]:
        with self._lock:
            return dict(self._status)

    def stop(self, timeout: float) -> None:
        """Kill the child, if there is one. Nothing is lost by it but its time."""
        with self._lock:
            child, thread = self._child, self._thread
        if child is not None and child.poll() is None:
            child.kill()
        if thread is not None:
            thread.join(timeout)

    def _watch(
        self,
        child: subprocess.Popen[str],
        on_progress: Callable[[dict[str, Any]], None],
        on_phases: Callable[[dict[str, Any]], None],
        on_done: Callable[[], None],
    ) -> None:
        said: list[str] = []
        assert child.stderr is not None and child.stdout is not None
        on_progress(self.status())
        with child:
            for line in child.stderr:
                report = _parsed(line) or {}
                event = report.pop("event", None)
                if event == "progress":
                    on_progress(self._updated({"state": "running", **report}))
                elif event == "phases":
                    on_phases(report["phases"])
                else:
                    said = [*said, line.strip()][-_STDERR_LINES:]
            result = _parsed(child.stdout.read())
        if child.returncode == 0 and result is not None:
            on_done()  # before the status says so: who reads "done" finds the head in service
            figures = {key: result[key] for key in ("top1", "solver")}
            on_progress(self._updated({"state": "done", "head": result["version"], **figures}))
        else:
            reason = said[-1] if said else f"it ended with {child.returncode}"
            log.warning("the retraining failed: %s", reason)
            on_progress(self._updated({"state": "failed", "error": reason}))

    def _updated(self, status: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self._status = {"started_ms": self._status["started_ms"], **status}
            return self._status


def _parsed(text: str) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError):
        value = json.loads(text)
        if isinstance(value, dict):
            return value
    return None
