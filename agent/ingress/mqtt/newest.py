"""The newest frame of each camera, for a service that is slower than its cameras."""

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Newest(Generic[T]):
    """At most one waiting frame for each of at most `cameras` cameras. Thread-safe.

    Cameras take turns in the order in which they began to wait, so that a fast one does not keep out a slow one; and
    a frame that is taken has waited for no more than one of each other camera.
    """

    def __init__(self, cameras: int) -> None:
        self._capacity = cameras
        self._waiting: OrderedDict[str, T] = OrderedDict()
        self._news = threading.Condition()
        self._closed = False

    def put(self, camera: str, frame: T) -> bool:
        """False if a frame is given up for it: an older one of this camera, or itself where too many cameras wait."""
        with self._news:
            replaces = camera in self._waiting
            if self._closed or (not replaces and len(self._waiting) >= self._capacity):
                return False
            self._waiting[camera] = frame  # one that is replaced leaves its place in the queue
            self._news.notify()
            return not replaces

    def take(self) -> T | None:
        """The frame whose turn it is, waiting for it; None once this is closed."""
        with self._news:
            self._news.wait_for(lambda: self._closed or self._waiting)
            if self._closed:
                return None
            _, frame = self._waiting.popitem(last=False)
            return frame

    def close(self) -> None:
        with self._news:
            self._closed = True
            self._waiting.clear()
            self._news.notify_all()
