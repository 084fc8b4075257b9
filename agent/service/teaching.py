"""Teaching: people say what frames show, and a head is made of it."""

import logging
from collections.abc import Callable
from typing import Any

from agent.errors import BusyError, LastlayerError, TrainingError
from agent.learning.running.pausing import Conditions
from agent.learning.running.retraining import Retraining
from agent.records import Seen
from agent.reporting.announcer import Announcer
from agent.reporting.timing import Timings
from agent.service.labelling import Labelling

log = logging.getLogger(__name__)

WORK = ("decode", "session_run", "result_processing")  # all that is done for a frame; `bottleneck` is in session_run

OUTCOMES = ("accepted", "refused", "cancelled", "failed")  # of a retraining


class Teaching:
    """Thread-safe. The phases of a retraining are added to `timings`; `on_head` is called when its head is stored."""

    def __init__(
        self,
        labelling: Labelling,
        retraining: Retraining,
        conditions: Conditions,
        timings: Timings,
        announcer: Announcer,
        *,
        on_head: Callable[[], None],
        retrain_after: int,
    ) -> None:
        self._labelling = labelling
        self._retraining = retraining
        self._conditions = conditions
        self._timings = timings
        self._announcer = announcer
        self._on_head = on_head
        self._retrain_after = retrain_after
        self._learnt_at_retrain = 0
        self._outcomes = dict.fromkeys(OUTCOMES, 0)

    def label(self, frame_id: str, text: object) -> str:
        """Remember a frame's label; the label as stored. Raises what Labelling.label raises."""
        label = self._labelling.label(frame_id, text)
        unused = self._labelling.learnt - self._learnt_at_retrain
        if self._retrain_after and unused >= self._retrain_after:
            try:
                self.retrain()
            except (BusyError, TrainingError):  # then the next label asks again
                pass
            except LastlayerError as error:  # as it does now; this label is on flash, whatever becomes of the head
                log.warning("no retraining begins by itself: %s", error)
        return label

    def forget(self, frame_id: str) -> bool:
        """Raises what Labelling.forget raises."""
        return self._labelling.forget(frame_id)

    def delete_label(self, label: str) -> int:
        return self._labelling.delete_label(label)

    def rename_label(self, label: str, new: object) -> tuple[str, int]:
        return self._labelling.rename_label(label, new)

    def label_counts(self) -> dict[str, int]:
        return self._labelling.label_counts()

    def cache_status(self) -> dict[str, Any]:
        return self._labelling.cache_status()

    def retrain(self) -> dict[str, Any]:
        """Begin a retraining; its status.

        Raises BusyError while one is running, TrainingError with fewer than two labels, and ChildError where it cannot
        be started.
        """
        labels = self._labelling.label_counts()
        if len(labels) < 2:
            raise TrainingError(f"there must be examples of two labels at least, there are {len(labels)}: label frames")
        self._retraining.start(on_progress=self._tell, on_phases=self._timings.merge, on_done=self._retrained)
        self._learnt_at_retrain = self._labelling.learnt
        return self.retraining()

    def retraining(self) -> dict[str, Any]:
        return self._retraining.status()

    def cancel(self) -> dict[str, Any]:
        """End the retraining; its status then. Raises TrainingError where none is under way."""
        return self._retraining.cancel()

    def outcomes(self) -> dict[str, int]:
        """How the retrainings since the start ended."""
        return dict(self._outcomes)

    def _retrained(self, written_bytes: int) -> None:
        self._labelling.count_written(written_bytes)
        self._on_head()

    def _tell(self, status: dict[str, Any]) -> None:
        state = status["state"]
        if state == "done":
            self._outcomes["accepted" if status["accepted"] else "refused"] += 1
        elif state in self._outcomes:
            self._outcomes[state] += 1
        self._announcer.retrain(status)

    def watch_frame(self, seen: Seen) -> None:
        """Note how long the work on a frame took, and whether a retraining ran beside it."""
        work_ms = sum(seen.result.timings_ms.get(phase, 0.0) for phase in WORK)
        self._conditions.latency.add(work_ms, disturbed=self._retraining.is_running)

    def mind_retraining(self) -> None:
        """Let it pause where the board has something better to do, and go on afterwards. To be called every second."""
        if not self._retraining.is_under_way:
            self._conditions.latency.forget_disturbed()
            return
        reason = self._conditions.reason_to_pause()
        if reason is None:
            self._retraining.resume()
        else:
            self._retraining.pause(reason)

    def status(self) -> dict[str, Any]:
        labels = self._labelling.label_counts()
        return {
            "examples": sum(labels.values()),
            "labels": labels,
            "retrain": self.retraining()["state"],
            "cache": self._labelling.cache_status(),
        }
