"""Retraining in a child process, by the command that a person would type.

The child goes after everyone else and uses one BLAS thread, so that frames are answered while it runs. It pauses where
it is told to, between two steps (control.py). It can be killed at any instant, because the head store only ever gains
whole heads; it ends by itself when this process does.
"""

import contextlib
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from agent.board.child import ONE_THREAD, Child, Ended, environment
from agent.errors import BusyError, ChildError, RefusedHeadError, TrainingError
from agent.learning.running.control import PAUSE, RESUME
from agent.learning.running.turns import Turns
from agent.reporting.host import lower_priority

log = logging.getLogger(__name__)

T = TypeVar("T")
Listener = Callable[[dict[str, Any]], None]

CANCEL_S = 10.0
_KEPT = ("state", "started_ms", "pauses", "reason")  # of the status, while it makes progress


class Retraining:
    """At most one child at a time, watched by a thread named `retraining`; it begins when its turn comes."""

    def __init__(self, state: Path, options: list[str], turns: Turns | None = None) -> None:
        """`turns` are those of all that retrain on this board; without any it waits for nobody."""
        self._command = [sys.executable, "-m", "agent", "--state", str(state)]
        self._command += ["retrain", "--json", "--controlled", *options]
        self._turns = turns or Turns()
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._thread: threading.Thread | None = None
        self._on_progress: Listener = lambda status: None
        self._status: dict[str, Any] = {"state": "idle"}
        self._cancelled = False

    @property
    def is_running(self) -> bool:
        """Whether it computes at this moment."""
        return bool(self._status["state"] == "running")

    @property
    def is_under_way(self) -> bool:
        """Whether it waits for its turn, runs or pauses."""
        return self._status["state"] in ("queued", "running", "paused")

    def start(
        self,
        *,
        on_progress: Listener,
        on_phases: Listener,
        on_done: Callable[[int], None],
    ) -> None:
        """Begin one, or let it wait for its turn.

        `on_progress` is called with each change of its status, in their order, and must not call back. In the watching
        thread `on_phases` is called with what its Timings drained, and `on_done` when its head is in the store, with
        the bytes that were written to flash for it. What these raise is logged and changes nothing.
        Raises BusyError while one is under way, and ChildError where it cannot be started: then it has failed. One
        that waited has failed as well, if it cannot be started then.
        """
        with self._lock:
            if self.is_under_way:
                word = "queued" if self._status["state"] == "queued" else "running"
                raise BusyError(f"a retraining is {word} already: wait for it, GET /v1/retrain tells how far it is")
            self._cancelled = False
            self._on_progress = on_progress
            self._status = {"state": "queued", "started_ms": int(time.time() * 1000), "pauses": 0}
            thread = threading.Thread(target=self._watch, args=(on_phases, on_done), name="retraining", daemon=True)
            try:
                with _starting():
                    if self._turns.join(self):
                        self._begin()
                    thread.start()
            except ChildError as error:
                if self._child is not None:
                    self._child.kill()
                    self._child.wait()
                self._end({"state": "failed", "error": str(error)})
                raise
            self._thread = thread

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
                self._tell(PAUSE)
                log.info("the retraining pauses: %s", reason)
            pauses = self._status["pauses"] + (not paused)
            self._become({**self._status, "state": "paused", "reason": reason, "pauses": pauses})

    def resume(self) -> None:
        """Let it go on, if it pauses."""
        with self._lock:
            if self._status["state"] != "paused":
                return
            self._tell(RESUME)
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
        """End it, if it is under way. Nothing is lost by it but its time."""
        self.kill()
        if (thread := self._thread) is not None:
            thread.join(timeout)

    def kill(self) -> None:
        """The same, without waiting for its end."""
        with self._lock:
            if self._child is None:
                self._turns.leave(self)
            else:
                self._child.kill()

    def _begin(self) -> None:
        self._child = Child(self._command, environment(**ONE_THREAD), listens=True)
        lower_priority(self._child.pid)
        self._status = {**self._status, "state": "running"}

    def _tell(self, command: str) -> None:
        if self._child is not None:
            self._child.tell(command)

    def _watch(self, on_phases: Listener, on_done: Callable[[int], None]) -> None:
        def take(line: str) -> bool:
            report = _parsed(line) or {}
            event = report.pop("event", None)
            if event == "progress":
                self._update(report)
            elif event == "phases":
                _call(on_phases, report["phases"])
            return event in ("progress", "phases")

        with self._lock:
            self._become(self._status)
        try:
            child = self._begun()
            outcome = {"state": "cancelled"} if child is None else self._outcome(child.wait(take=take), on_done)
        except ChildError as error:
            outcome = _failed(str(error))
        except Exception as error:  # whatever it is, nobody waits for this retraining any longer
            log.exception("the retraining cannot be followed")
            outcome = {"state": "failed", "error": str(error)}
        with self._lock:
            self._end(outcome)

    def _begun(self) -> Child | None:
        """The child, once its turn has come; None where it was ended before. Raises ChildError."""
        self._turns.wait(self)
        with self._lock:
            if self._child is None and self._turns.has_come(self):
                with _starting():
                    self._begin()
                self._become(self._status)
            return self._child

    def _outcome(self, ended: Ended, on_done: Callable[[int], None]) -> dict[str, Any]:
        """What the status says once it has ended."""
        result = _parsed(ended.stdout)
        if ended.code in (0, RefusedHeadError.exit_code) and result is not None:
            _call(on_done, result["written_bytes"])  # before the status says so: the head is in service by then
            figures = {key: result[key] for key in ("top1", "solver", "accepted")}
            return {"state": "done", "head": result["version"], **figures, "reason": result["gate"]["reason"]}
        if self._cancelled:
            return {"state": "cancelled"}
        return _failed(ended.last_words or f"it ended with {ended.code}")

    def _update(self, progress: dict[str, Any]) -> None:
        """A pause stays one: what the child says then, it said before it heard of it."""
        with self._lock:
            kept: dict[str, Any] = {key: self._status[key] for key in _KEPT if key in self._status}
            self._become({**kept, **progress})

    def _end(self, outcome: dict[str, Any]) -> None:
        self._child = None
        self._become({key: self._status[key] for key in ("started_ms", "pauses")} | outcome)
        self._turns.leave(self)

    def _become(self, status: dict[str, Any]) -> None:
        self._status = status
        _call(self._on_progress, dict(status))


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """Raises ChildError for whatever keeps a process or a thread from being started."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # a ChildError, or what a thread raises that cannot be started
        raise ChildError(f"the retraining cannot be started: {error}") from error


def _failed(reason: str) -> dict[str, Any]:
    """What the status says then."""
    log.warning("the retraining failed: %s", reason)
    return {"state": "failed", "error": reason}


def _call(listener: Callable[[T], None], said: T) -> None:
    """A listener that fails changes nothing of a retraining."""
    try:
        listener(said)
    except Exception:
        log.exception("what a retraining says could not be used")


def _parsed(text: str) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError):
        value = json.loads(text)
        if isinstance(value, dict):
            return value
    return None
