"""What happens, to whoever listens just now: server-sent events, from queues that are bounded."""

import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from agent.errors import BusyError
from agent.records import Result

CONTENT_TYPE = "text/event-stream; charset=utf-8"
MAX_LISTENERS = 16
MAX_QUEUED = 100  # events of one listener; then its oldest go
HEARTBEAT_S = 15.0  # so often something is said, so that who went away is noticed

# What makes a status another one, as a whole and of each task. Counts of frames do not: each has its event.
_ESSENCE = ("head", "head_error", "examples", "labels", "retrain", "mqtt")


class Feed:
    """Told what happens, passes it on to each listener. Never blocks who tells it. Thread-safe."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._essence: list[Any] | None = None
        self._number = 0

    def listen(self, status: Mapping[str, Any]) -> "Listener":
        """A new listener, which hears the status first. Raises BusyError where there are enough already."""
        listener = Listener(self)
        self._tell_if_changed(status)  # to the others, who may not know it yet
        with self._lock:
            if self._closed or len(self._listeners) >= MAX_LISTENERS:
                raise BusyError(f"{len(self._listeners)} listen to events already: end one of them, or try again later")
            listener.put(_encoded("status", status, self._number))
            self._listeners.add(listener)
        return listener

    def tell(self, event: str, payload: Mapping[str, Any]) -> None:
        """Say that something happened."""
        if not self._listeners:
            return
        with self._lock:
            self._number += 1
            said = _encoded(event, payload, self._number)
            for listener in self._listeners:
                listener.put(said)

    def result(self, result: Result) -> None:
        """Say what a frame shows, unless it was skipped."""
        if self._listeners and not result.skipped:
            self.tell("result", result.as_dict())

    def tell_changes(self, status: Callable[[], Mapping[str, Any]]) -> None:
        """Say the status, where it is another one than the last time. To be called every second."""
        if not self._listeners:
            return
        self._tell_if_changed(status())

    def _tell_if_changed(self, status: Mapping[str, Any]) -> None:
        tasks: Mapping[str, Mapping[str, Any]] = status.get("tasks") or {}
        essence = [_essence(status), {name: _essence(task) for name, task in tasks.items()}]
        with self._lock:
            changed, self._essence = essence != self._essence, essence
        if changed:
            self.tell("status", status)

    def leave(self, listener: "Listener") -> None:
        with self._lock:
            self._listeners.discard(listener)

    def close(self) -> None:
        """End the stream of every listener. Idempotent."""
        with self._lock:
            self._closed = True
            listeners, self._listeners = self._listeners, set()
        for listener in listeners:
            listener.end()


class Listener:
    """An iterator of what is to be sent to one client."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._queue: deque[bytes] = deque()
        self._dropped = 0
        self._ended = False
        self._changed = threading.Condition()

    def put(self, event: bytes) -> None:
        with self._changed:
            if len(self._queue) >= MAX_QUEUED:
                self._queue.popleft()
                self._dropped += 1
            self._queue.append(event)
            self._changed.notify()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()

    def __iter__(self) -> "Listener":
        return self

    def __next__(self) -> bytes:
        """The next event, or a comment where nothing happens. What was dropped is said before what came after it."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._ended, HEARTBEAT_S)
            if self._ended:
                raise StopIteration
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                return _encoded("dropped", {"dropped": dropped}, None)
            return self._queue.popleft() if self._queue else b":\n\n"

    def close(self) -> None:
        self._feed.leave(self)


def _essence(status: Mapping[str, Any]) -> list[Any]:
    return [status.get(key) for key in _ESSENCE]


def _encoded(event: str, payload: Mapping[str, Any], number: int | None) -> bytes:
    number_line = "" if number is None else f"id: {number}\n"
    return f"event: {event}\n{number_line}data: {json.dumps(payload, ensure_ascii=False)}\n\n".encode()
