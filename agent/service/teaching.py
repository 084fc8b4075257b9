"""Teaching: people say what frames show, the cache keeps it, and a head is made of it.

Learning begins here: labelled frame → bottleneck → cache. A frame is labelled when it comes, or later by its id.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

from agent.cache import Cache
from agent.errors import BusyError, LastlayerError, TrainingError, UnknownFrameError
from agent.learning.pictures.bursts import split_of_group
from agent.learning.pictures.spelling import check_spelling
from agent.learning.running.retraining import Retraining
from agent.records import Example, Split, checked_label, checked_name, example_id
from agent.region import UNCUT, Cut
from agent.reporting.announcer import Announcer
from agent.reporting.timing import Stopwatch, Timings
from agent.service.recent import RecentFrames

log = logging.getLogger(__name__)

INSIST = 'say so: ?new=1 over HTTP, "new": true over MQTT, --new-labels where you push'
OUTCOMES = ("accepted", "refused", "cancelled", "failed")  # of a retraining


class Teaching:
    """Thread-safe. The phases of a retraining are added to `timings`; `on_head` is called when its head is stored.

    With `retrain_after`, one begins by itself after so many labels that were new or changed.
    """

    def __init__(
        self,
        cache: Cache,
        recent: RecentFrames,
        retraining: Retraining,
        timings: Timings,
        announcer: Announcer,
        *,
        on_head: Callable[[], None],
        retrain_after: int,
        task: str = "",
    ) -> None:
        """`task` is what the results of its frames call it."""
        self._cache = cache
        self._recent = recent
        self._retraining = retraining
        self._timings = timings
        self._announcer = announcer
        self._on_head = on_head
        self._retrain_after = retrain_after
        self._task = task
        self._bursts = cache.bursts()
        self._lock = threading.Lock()  # guards the bursts and the count
        self._learnt = 0  # labels that were new or changed since the start
        self._learnt_at_retrain = 0
        self._outcomes = dict.fromkeys(OUTCOMES, 0)

    def label(
        self, frame_id: str, text: object, split: Split | None = None, *, cut: Cut = UNCUT, new: bool = False
    ) -> str:
        """Remember the label of what was cut out of a frame; the label as stored. On flash when this returns.

        A new example falls into `split`, or where its burst falls; one that there is goes into val or test where that
        is said. The label that it has already is neither written again nor counted. Raises what `spelt` raises,
        UnknownFrameError for a frame that is gone, BottleneckError for one of which nothing can be learnt, and
        StateError where flash cannot be written.
        """
        label = self.spelt(text, new=new)
        watch = Stopwatch()
        with watch.phase("cache_append"):
            is_news = self._keep(frame_id, cut, label, split)
        if is_news:
            self._timings.record(watch)
            with self._lock:
                self._learnt += 1
            self._retrain_if_due()
        return label

    def spelt(self, text: object, *, new: bool = False) -> str:
        """A label as it is stored. Raises LabelError, and SimilarLabelError for one that no example has and that is
        like one that some have, unless it is said to be `new`."""
        label = checked_label(text)
        if not new:
            check_spelling(label, self.label_counts(), INSIST)
        return label

    def knows(self, frame_id: str, cut: Cut) -> bool:
        """Whether that of the frame has been seen not long ago, or is an example."""
        return self._recent.get(frame_id, self._task, cut) is not None or self._has(frame_id, cut)

    def forget(self, frame_id: str, cuts: Iterable[Cut]) -> int:
        """Remove the examples of a frame, by what was cut out of it; how many there were. On flash when this returns.

        Raises StateError where flash cannot be written.
        """
        return self._cache.delete([example_id(frame_id, cut) for cut in cuts if self._has(frame_id, cut)])

    def delete_label(self, label: str) -> int:
        """Remove all examples of a label; how many there were. Raises UnknownLabelError and StateError."""
        return self._cache.delete_label(checked_name(label, "label"))

    def rename_label(self, label: str, to: object, *, new: bool = False) -> tuple[str, int]:
        """Call a label something else, or merge it with the one of that name; the new one as stored, and how many
        examples it had. Raises what `spelt` raises, UnknownLabelError and StateError."""
        name, label = checked_label(to), checked_name(label, "label")
        if not new:
            check_spelling(name, self.label_counts().keys() - {label}, INSIST)
        return name, self._cache.rename_label(label, name)

    def label_counts(self) -> dict[str, int]:
        return self._cache.label_counts()

    def cache_status(self) -> dict[str, Any]:
        """What Cache.status says."""
        return self._cache.status()

    def retrain(self) -> dict[str, Any]:
        """Begin a retraining; its status.

        Raises BusyError while one is running, TrainingError with fewer than two labels, and ChildError where it cannot
        be started.
        """
        labels = self.label_counts()
        if len(labels) < 2:
            raise TrainingError(f"there must be examples of two labels at least, there are {len(labels)}: label frames")
        self._retraining.start(on_progress=self._tell, on_phases=self._timings.merge, on_done=self._retrained)
        self._learnt_at_retrain = self._learnt
        return self.retraining()

    def retraining(self) -> dict[str, Any]:
        return self._retraining.status()

    def cancel(self) -> dict[str, Any]:
        """End the retraining; its status then. Raises TrainingError where none is under way."""
        return self._retraining.cancel()

    def outcomes(self) -> dict[str, int]:
        """How the retrainings since the start ended."""
        return dict(self._outcomes)

    def status(self) -> dict[str, Any]:
        labels = self.label_counts()
        return {
            "examples": sum(labels.values()),
            "labels": labels,
            "held_back": self._cache.held_back(),
            "retrain": self.retraining()["state"],
            "cache": self.cache_status(),
        }

    def _has(self, frame_id: str, cut: Cut) -> bool:
        return _is_frame_id(frame_id) and example_id(frame_id, cut) in self._cache

    def _keep(self, frame_id: str, cut: Cut, label: str, split: Split | None) -> bool:
        """On flash when this returns; whether that is news."""
        key = example_id(frame_id, cut)
        if self._has(frame_id, cut) and not self._cache.goes_aside(key, split):
            return self._cache.relabel(key, label)
        self._cache.append([self._example(frame_id, cut, label, split)])
        return True

    def _example(self, frame_id: str, cut: Cut, label: str, said: Split | None) -> Example:
        seen = self._recent.get(frame_id, self._task, cut)
        if seen is None:
            raise UnknownFrameError(
                f"the frame {frame_id[:32]!r} is not remembered: it was never here, or too many came since; "
                "send the picture again with its label"
            )
        result = seen.result
        self._cache.layout.encoded(seen.bottleneck)  # before anything else knows of it
        with self._lock:
            group = self._bursts.join(result.camera, label, result.received_ms, seen.fingerprint, said)
            if said in (None, "train") and self._bursts.is_set_aside(group):
                log.info("the frame %s looks like one of val or test: it is held back from training", frame_id)
        split, is_said = said or split_of_group(group), said is not None
        key = example_id(frame_id, cut)
        return Example(key, label, seen.bottleneck, result.received_ms, result.camera, split, is_said, group)

    def _retrain_if_due(self) -> None:
        if not self._retrain_after or self._learnt - self._learnt_at_retrain < self._retrain_after:
            return
        try:
            self.retrain()
        except (BusyError, TrainingError):  # then the next label asks again
            pass
        except LastlayerError as error:  # as it does now; this label is on flash, whatever becomes of the head
            log.warning("no retraining begins by itself: %s", error)

    def _retrained(self, written_bytes: int) -> None:
        self._cache.count_written(written_bytes)
        self._on_head()

    def _tell(self, status: dict[str, Any]) -> None:
        state = status["state"]
        if state == "done":
            self._outcomes["accepted" if status["accepted"] else "refused"] += 1
        elif state in self._outcomes:
            self._outcomes[state] += 1
        self._announcer.retrain(status, self._task)


def _is_frame_id(text: str) -> bool:
    return len(text) == 16 and all(c in "0123456789abcdef" for c in text)
