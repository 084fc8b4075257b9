"""The last frames that were classified, so that they can be labelled without being sent again."""

import threading
from collections import OrderedDict
from collections.abc import Iterable

from agent.records import Result, Seen
from agent.region import Cut


class RecentFrames:
    """Thread-safe. Of each frame is remembered what each task saw of it, the last of the same picture."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._frames: OrderedDict[str, tuple[Seen, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def remember(self, seen: Iterable[Seen]) -> None:
        with self._lock:
            for each in seen:
                frame_id, task, cut = each.result.frame_id, each.result.task, each.cut
                others = [
                    other for other in self._frames.get(frame_id, ()) if (other.result.task, other.cut) != (task, cut)
                ]
                self._frames[frame_id] = (*others, each)
                self._frames.move_to_end(frame_id)  # the same picture may have come before
            while len(self._frames) > self._capacity:
                self._frames.popitem(last=False)

    def results(self) -> list[list[Result]]:
        """What was said of each frame, newest first."""
        with self._lock:
            frames = list(self._frames.values())
        return [[seen.result for seen in frame] for frame in reversed(frames)]

    def forget(self, frame_id: str) -> bool:
        """Whether it was remembered."""
        with self._lock:
            return self._frames.pop(frame_id, None) is not None

    def get(self, frame_id: str, task: str, cut: Cut) -> Seen | None:
        """What a task saw of it there; None if that is not remembered. `task` as in Result."""
        with self._lock:
            found = self._frames.get(frame_id, ())
        return next((seen for seen in found if (seen.result.task, seen.cut) == (task, cut)), None)
