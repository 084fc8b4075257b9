"""Seeing: a frame that any source brought is classified, remembered for a while, and told of.

A bounded number of frames may be under way; the rest waits outside, or is dropped and counted.
"""

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import BusyError, ImageError
from agent.records import Frame, Result, Seen, Source
from agent.vision.classifier import TOP, Classifier

log = logging.getLogger(__name__)

FRESH_S = 10.0  # a frame that was classified so recently says that others can be
BUSY_S = 5.0


class Inbox:
    """Room for `capacity` frames, whoever brings them, and for the memory that their pictures take. Thread-safe.

    All together they take `decoding_bytes` at most. What takes more than a sixteenth of it is large: one such picture
    is decoded at a time, and may take three quarters. The rest is for small ones, which never wait for a large one.
    """

    def __init__(self, capacity: int, decoding_bytes: int) -> None:
        self.capacity = capacity
        self._small, self._for_small, self._for_large = (decoding_bytes * share // 16 for share in (1, 4, 12))
        self._frames = 0  # under way
        self._small_bytes, self._large_bytes = 0, 0  # that they take
        self._dropped: Counter[Source] = Counter()
        self._changed = threading.Condition()
        self._counting = threading.Lock()

    @property
    def dropped(self) -> dict[Source, int]:
        """The frames of each source that found no room."""
        with self._counting:
            return dict(self._dropped)

    def drop(self, source: Source) -> None:
        """Count a frame that is given up."""
        with self._counting:
            self._dropped[source] += 1

    @contextmanager
    def room(self, source: Source, wait_s: float | None, decoding_bytes: int) -> Iterator[None]:
        """Room for one frame while the block runs, whose picture takes so many bytes of memory.

        Raises BusyError, and counts the frame as dropped, where there is none within `wait_s` seconds; None waits.
        Raises ImageError for a picture that takes more than there ever is.
        """
        if decoding_bytes > self._for_large:
            raise ImageError(
                f"the picture would take {decoding_bytes} bytes of memory while it is decoded, the limit is "
                f"{self._for_large} (three quarters of frames.decoding_bytes): scale it down, or send a JPEG"
            )
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_room(decoding_bytes), wait_s):
                self.drop(source)
                raise BusyError(
                    f"{self._frames} frames are under way already, whose pictures take "
                    f"{self._small_bytes + self._large_bytes} bytes of memory: send fewer, or smaller ones, or wait a "
                    "second"
                )
            self._count(1, decoding_bytes)
        try:
            yield
        finally:
            with self._changed:
                self._count(-1, -decoding_bytes)
                self._changed.notify_all()

    def _has_room(self, more: int) -> bool:
        if self._frames >= self.capacity:
            return False
        return self._small_bytes + more <= self._for_small if more <= self._small else self._large_bytes == 0

    def _count(self, frames: int, bytes_taken: int) -> None:
        self._frames += frames
        if abs(bytes_taken) <= self._small:
            self._small_bytes += bytes_taken
        else:
            self._large_bytes += bytes_taken


class RecentFrames:
    """The last frames that were classified, so that they can be labelled without being sent again. Thread-safe."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._frames: OrderedDict[str, tuple[Result, NDArray[Any], NDArray[np.uint8]]] = OrderedDict()
        self._lock = threading.Lock()

    def remember(self, seen: Seen) -> None:
        with self._lock:
            self._frames[seen.frame.frame_id] = seen.result, seen.bottleneck, seen.thumbnail
            self._frames.move_to_end(seen.frame.frame_id)  # the same picture may have come before
            if len(self._frames) > self._capacity:
                self._frames.popitem(last=False)

    def results(self) -> list[Result]:
        """Newest first."""
        with self._lock:
            return [result for result, _, _ in reversed(self._frames.values())]

    def forget(self, frame_id: str) -> bool:
        """Whether it was remembered."""
        with self._lock:
            return self._frames.pop(frame_id, None) is not None

    def get(self, frame_id: str) -> tuple[Result, NDArray[Any], NDArray[np.uint8]] | None:
        """Result, bottleneck [D] and thumbnail of a frame; None if it is not remembered."""
        with self._lock:
            return self._frames.get(frame_id)


@dataclass(frozen=True, slots=True)
class SourceCounts:
    """The frames of one source since the start."""

    frames: int  # classified
    bad_frames: int  # that were no good picture
    dropped: int  # for which there was no room


class Seeing:
    """Thread-safe. Each of `listeners` is told of every frame, in the thread that brought it, and must not block.

    Pictures of more than `max_bytes` are refused.
    """

    def __init__(
        self,
        classifier: Classifier,
        inbox: Inbox,
        recent: RecentFrames,
        listeners: Sequence[Callable[[Seen], None]],
        *,
        max_bytes: int,
    ) -> None:
        self.classifier = classifier
        self.inbox = inbox
        self._recent = recent
        self._listeners = listeners
        self._max_bytes = max_bytes
        self._counting = threading.Lock()
        self._frames: Counter[Source] = Counter()
        self._bad_frames: Counter[Source] = Counter()
        self._not_finite = 0
        self._classified = -FRESH_S  # when the last frame was, monotonic

    def classify(
        self,
        frame: Frame,
        source: Source,
        *,
        top: int = TOP,
        wait_s: float | None = None,
        tentative: bool = False,
    ) -> Result:
        """Say what a frame shows. It waits for room in the inbox, at most `wait_s` seconds if they are given.

        What is `tentative` comes again if it is no good picture, and is not counted as bad before.
        Raises ImageError for what is no good picture, and BusyError where there was no room in time.
        """
        try:
            self._check_size(frame.payload)
            seen = self.classifier.classify(frame, top, partial(self.inbox.room, source, wait_s))
        except ImageError:
            if not tentative:
                self.count_bad(source)
            raise
        with self._counting:
            self._frames[source] += 1
            self._classified = time.monotonic()
        if not seen.finite:
            self._count_not_finite(seen)
        self._recent.remember(seen)
        for listener in self._listeners:
            listener(seen)
        return seen.result

    def count_bad(self, source: Source) -> None:
        """Count what was sent as a frame and holds no picture that could be classified."""
        with self._counting:
            self._bad_frames[source] += 1

    def trouble(self) -> str | None:
        """Why frames cannot be classified; None where they can. Tries it, if none was just now. Takes BUSY_S at most,
        and the time of one frame."""
        if time.monotonic() - self._classified < FRESH_S:
            return None
        return self.classifier.trouble(BUSY_S)

    def total(self) -> int:
        """The frames that were classified, of all sources, since the start."""
        with self._counting:
            return sum(self._frames.values())

    def recent(self) -> list[Result]:
        """The frames that can still be labelled, newest first."""
        return self._recent.results()

    def counts(self) -> dict[Source, SourceCounts]:
        """Of every source that brought a frame."""
        dropped = self.inbox.dropped
        with self._counting:
            return {
                source: SourceCounts(self._frames[source], self._bad_frames[source], dropped.get(source, 0))
                for source in sorted({*self._frames, *self._bad_frames, *dropped})
            }

    @property
    def not_finite(self) -> int:
        """How many of the frames were unknown because no finite numbers came out for them."""
        with self._counting:
            return self._not_finite

    def status(self) -> dict[str, object]:
        """The sums over all sources, and each source alone."""
        counts = self.counts()
        sums = {name: sum(getattr(count, name) for count in counts.values()) for name in SourceCounts.__slots__}
        return {
            **sums,
            "not_finite": self.not_finite,
            "sources": {source: asdict(count) for source, count in counts.items()},
        }

    def _count_not_finite(self, seen: Seen) -> None:
        """It is told of the first one: at night a camera may send nothing else."""
        with self._counting:
            self._not_finite += 1
            first = self._not_finite == 1
        if first:
            log.warning(
                "no finite numbers come out for the frame %s%s: such frames are unknown, and cannot be learnt; further "
                "ones are only counted (not_finite)",
                seen.frame.frame_id,
                f" of the camera {seen.frame.camera}" if seen.frame.camera else "",
            )

    def _check_size(self, payload: bytes) -> None:
        if len(payload) > self._max_bytes:
            raise ImageError(f"the picture has more than {self._max_bytes} bytes, the limit (frames.max_bytes)")
