"""The inbox: frames wait here, a bounded number, for the one thread that classifies them."""

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from agent.errors import BusyError
from agent.records import Frame, Seen

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Waiting:
    frame: Frame
    top: int
    answer: Future[Seen]


class Inbox:
    """Owns the thread `classifier`. `dropped` counts the frames that found no room."""

    def __init__(self, classify: Callable[[Frame, int], Seen], *, capacity: int) -> None:
        self.dropped = 0
        self._classify = classify
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue(capacity)
        self._counting = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="classifier", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, frame: Frame, top: int, *, wait_s: float) -> Future[Seen]:
        """Hand a frame over; what comes of it. Raises BusyError where there is no room within `wait_s`."""
        item = _Waiting(frame, top, Future())
        try:
            if self._closed:
                raise queue.Full
            self._waiting.put(item, timeout=wait_s)
        except queue.Full:
            with self._counting:
                self.dropped += 1
            raise BusyError(
                f"{self._waiting.maxsize} frames are waiting already: send fewer, or try again in a second"
            ) from None
        return item.answer

    def stop(self, timeout: float) -> None:
        """Classify what waits, then end; what is left at the deadline is refused with BusyError."""
        self._closed = True
        try:
            self._waiting.put(None, timeout=timeout)
        except queue.Full:
            log.warning("frames were still waiting at the stop")
        if self._thread.ident is not None:
            self._thread.join(timeout)
        while True:
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                return
            if item is not None:
                item.answer.set_exception(BusyError("the service is stopping"))

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            if not item.answer.set_running_or_notify_cancel():
                continue  # whoever asked has given up
            try:
                item.answer.set_result(self._classify(item.frame, item.top))
            except Exception as error:  # noqa: BLE001  whatever a frame does goes to who sent it, and not to this thread
                item.answer.set_exception(error)
