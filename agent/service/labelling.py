"""Learning: labelled frame → bottleneck → cache. A frame is labelled when it comes, or later by its id."""

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.cache import Cache
from agent.errors import UnknownFrameError
from agent.learning.pictures.bursts import dhash, split_of_group
from agent.records import Example, Result, Seen, checked_label
from agent.reporting.timing import Timings


class RecentFrames:
    """The last frames that were classified, so that they can be labelled without being sent again. Thread-safe."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._frames: OrderedDict[str, tuple[Result, NDArray[Any], NDArray[np.uint8]]] = OrderedDict()
        self._lock = threading.Lock()

    def remember(self, seen: Seen) -> None:
        with self._lock:
            self._frames[seen.frame.frame_id] = seen.result, seen.bottleneck, seen.thumbnail
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


class Labelling:
    """What people say of frames, and the cache that keeps it. Thread-safe.

    `learnt` counts the labels that were new or changed since the start.
    """

    def __init__(self, cache: Cache, recent: RecentFrames, timings: Timings) -> None:
        self.learnt = 0
        self._cache = cache
        self._recent = recent
        self._timings = timings
        self._bursts = cache.bursts()
        self._lock = threading.Lock()

    def label(self, frame_id: str, text: object) -> str:
        """Remember a frame's label; the label as stored. On flash when this returns.

        Raises LabelError, UnknownFrameError for a frame that is gone, and StateError
        where flash cannot be written.
        """
        label = checked_label(text)
        with self._timings.phase("cache_append"):
            if _is_frame_id(frame_id) and frame_id in self._cache:
                self._cache.relabel(frame_id, label)
            else:
                self._cache.append([self._example(frame_id, label)])
        with self._lock:
            self.learnt += 1
        return label

    def forget(self, frame_id: str) -> bool:
        """Remove what is known of a frame, its example too; whether it had one. On flash when this returns.

        Raises UnknownFrameError where nothing is known, and StateError where flash cannot be written.
        """
        remembered = self._recent.forget(frame_id)
        deleted = _is_frame_id(frame_id) and self._cache.delete([frame_id]) > 0
        if not (remembered or deleted):
            raise UnknownFrameError(f"the frame {frame_id[:32]!r} is not known: no example is of it")
        return deleted

    def delete_label(self, label: str) -> int:
        """Remove all examples of a label; how many there were. Raises UnknownLabelError and StateError."""
        return self._cache.delete_label(checked_label(label))

    def rename_label(self, label: str, new: object) -> tuple[str, int]:
        """Call a label something else, or merge it with the one of that name; the new one as stored, and how many
        examples it had. Raises LabelError, UnknownLabelError and StateError."""
        name = checked_label(new)
        return name, self._cache.rename_label(checked_label(label), name)

    def label_counts(self) -> dict[str, int]:
        return self._cache.label_counts()

    def count_written(self, size: int) -> None:
        """What a retraining wrote to flash."""
        self._cache.count_written(size)

    def cache_status(self) -> dict[str, Any]:
        """What Cache.status says."""
        return self._cache.status()

    def _example(self, frame_id: str, label: str) -> Example:
        remembered = self._recent.get(frame_id)
        if remembered is None:
            raise UnknownFrameError(
                f"the frame {frame_id[:32]!r} is not remembered: it was never here, or too many came since; "
                "send the picture again with its label"
            )
        result, bottleneck, small = remembered
        with self._lock:
            group = self._bursts.join(result.camera, label, result.received_ms, dhash(small))
        split = split_of_group(group)
        return Example(frame_id, label, bottleneck, result.received_ms, result.camera, split, group=group)


def _is_frame_id(text: str) -> bool:
    return len(text) == 16 and all(c in "0123456789abcdef" for c in text)
