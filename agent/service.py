"""What the daemon does for those who ask, in plain calls. The faces (HTTP, later MQTT) only translate."""

import contextlib
import logging
import secrets
import threading
import time
from typing import Any

import agent
from agent.errors import BusyError, ImageError, LastlayerError, TrainingError
from agent.ingress.inbox import Inbox
from agent.learning.headstore import HeadStore
from agent.learning.labelling import Labelling, RecentFrames
from agent.learning.pausing import Conditions
from agent.learning.retraining import Retraining
from agent.records import Frame, Result, checked_label
from agent.reporting.announcer import Announcer
from agent.reporting.timing import Timings
from agent.vision.classifier import TOP, Classifier

log = logging.getLogger(__name__)

WAIT_FOR_ROOM_S = 2.0
WORK = ("decode", "session_run", "result_processing")  # all that is done for a frame; `bottleneck` is in session_run


class Service:
    """Thread-safe. What changes is told to `announcer`; the phases of a retraining are added to `timings`."""

    def __init__(
        self,
        classifier: Classifier,
        inbox: Inbox,
        recent: RecentFrames,
        labelling: Labelling,
        heads: HeadStore,
        retraining: Retraining,
        conditions: Conditions,
        timings: Timings,
        announcer: Announcer,
        *,
        retrain_after: int,
    ) -> None:
        self._classifier = classifier
        self._inbox = inbox
        self._recent = recent
        self._labelling = labelling
        self._heads = heads
        self._retraining = retraining
        self._conditions = conditions
        self._retrain_after = retrain_after
        self._timings = timings
        self._announcer = announcer
        self._counting = threading.Lock()
        self._frames = self._bad_frames = self._learnt_at_retrain = 0
        self._head_error: str | None = None
        self._started = time.monotonic()

    # Seeing

    def classify(self, payload: bytes, *, camera: str = "", label: str | None = None, top: int = TOP) -> Result:
        """Say what a picture shows and, where it comes with a label, remember it.

        Raises ImageError, LabelError, BusyError where too many wait, StateError where a
        label cannot be written to flash.
        """
        camera = checked_label(camera, "camera name") if camera else ""
        label = checked_label(label) if label is not None else None
        frame = Frame(secrets.token_hex(8), int(time.time() * 1000), payload, camera, label)
        try:
            with self._inbox.room(WAIT_FOR_ROOM_S):
                seen = self._classifier.classify(frame, top)
        except ImageError:
            with self._counting:
                self._bad_frames += 1
            raise
        with self._counting:
            self._frames += 1
        work_ms = sum(seen.result.timings_ms.get(phase, 0.0) for phase in WORK)
        self._conditions.latency.add(work_ms, disturbed=self._retraining.is_running)
        self._recent.remember(seen)
        self._announcer.result(seen.result)
        if label is not None:
            self.label(frame.frame_id, label)
        return seen.result

    def recent(self) -> list[Result]:
        """The frames that can still be labelled, newest first."""
        return self._recent.results()

    # Learning

    def label(self, frame_id: str, text: object) -> str:
        """Remember a frame's label; the label as stored. Raises what Labelling.label raises."""
        label = self._labelling.label(frame_id, text)
        unused = self._labelling.learnt - self._learnt_at_retrain
        if self._retrain_after and unused >= self._retrain_after:
            with contextlib.suppress(BusyError, TrainingError):  # then the next label asks again
                self.retrain()
        return label

    def retrain(self) -> dict[str, Any]:
        """Begin a retraining; its status.

        Raises BusyError while one is running, TrainingError with fewer than two labels.
        """
        labels = self._labelling.label_counts()
        if len(labels) < 2:
            raise TrainingError(f"there must be examples of two labels at least, there are {len(labels)}: label frames")
        self._retraining.start(
            on_progress=self._announcer.retrain, on_phases=self._timings.merge, on_done=self.follow_store
        )
        self._learnt_at_retrain = self._labelling.learnt
        return self.retraining()

    def retraining(self) -> dict[str, Any]:
        return self._retraining.status()

    def cancel_retraining(self) -> dict[str, Any]:
        """End it; its status then. Raises TrainingError where none is under way."""
        return self._retraining.cancel()

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

    # Heads

    def heads(self) -> dict[str, Any]:
        """Those in the store, and which of them is in service."""
        reports = [self._heads.summary(version) for version in self._heads.versions()]
        return {"active": self._heads.active(), "heads": reports}

    def head(self, version: str) -> dict[str, Any]:
        """All that is known of one. Raises UnknownHeadError, and StateError where its report is damaged."""
        return self._heads.report(version)

    def activate(self, version: str, *, force: bool = False) -> None:
        """Raises UnknownHeadError, MismatchError, StateError for a damaged head, and RefusedHeadError for one that the
        gate refused, unless `force` is said."""
        self._classifier.check(version, self._heads.load(version))
        self._heads.activate(version, force=force)
        self.follow_store()

    def rollback(self) -> str:
        """Return to the head that was in service before; its version. Raises UnknownHeadError where there is none."""
        version = self._heads.rollback()
        self.follow_store()
        return version

    def follow_store(self) -> None:
        """Put the store's active head into service, whoever made it so; without it, go on with the one before."""
        try:
            version = self._heads.active()
            if version is None or version == self._classifier.head_version:
                return
            self._classifier.put_into_service(version, self._heads.load(version))
            self._head_error = None
            log.info("head %s is in service", version)
            self.announce_head()
        except LastlayerError as error:
            if str(error) != self._head_error:  # said once, not at every look
                log.error("the active head cannot be put into service: %s", error)
            self._head_error = str(error)

    def announce_head(self) -> None:
        version = self._classifier.head_version
        if version is not None:
            self._announcer.head(self._heads.summary(version))

    def timings(self) -> dict[str, Any]:
        """Every phase since the start."""
        return {"phases": [report.as_dict() for report in self._timings.since_start()]}

    def status(self) -> dict[str, Any]:
        labels = self._labelling.label_counts()
        with self._counting:
            frames, bad_frames = self._frames, self._bad_frames
        return {
            "version": agent.__version__,
            "node": self._timings.node,
            "backbone": self._classifier.backbone.bundle.name,
            "head": self._classifier.head_version,
            "head_error": self._head_error,
            "examples": sum(labels.values()),
            "labels": labels,
            "frames": frames,
            "bad_frames": bad_frames,
            "dropped": self._inbox.dropped,
            "retrain": self.retraining()["state"],
            "mqtt": self._announcer.status(),
            "cache": self._labelling.cache_status(),
            "uptime_s": round(time.monotonic() - self._started, 3),
        }
