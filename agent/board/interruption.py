"""Ctrl-C and SIGTERM, for a command: whatever it is doing, it ends once and in order.

    with Interruption() as interruption:
        try:
            ...
        except BaseException:
            if interruption.number is not None: it is that, whatever it has become on its way

A terminal sends Ctrl-C to every process of a command, and people press it twice.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM)
GRACE_S = 10.0  # so long another signal is the same wish: what it began to end has a deadline of its own
_AGAIN_S = 0.05


class Interruption:
    """Within its block each of these signals raises KeyboardInterrupt in the main thread, where the block must be.

    A signal that this process was started to ignore, as in the background of a shell, stays ignored.
    """

    def __init__(self, numbers: Iterable[signal.Signals] = ENDING, *, ends_process: bool = False) -> None:
        """Where the block `ends_process`, they are ignored behind it, as they are once one of them has come."""
        self.number: signal.Signals | None = None  # the first that came
        self._numbers = tuple(numbers)
        self._ends_process = ends_process
        self._heard_s = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interruption":
        for number in self._numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._hear)
        self._unraisable, sys.unraisablehook = sys.unraisablehook, self._swallowed
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.unraisablehook = self._unraisable
        # One that went through an `exec` on its way, as of a dataclass, would end the interpreter by the signal itself
        # although it was caught; another `exec` takes that back.
        exec("")
        for number, handler in self._before.items():
            # An interpreter that ends can be interrupted too, and would say so in many lines.
            signal.signal(number, signal.SIG_IGN if self._ends_process or self.number is not None else handler)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.number is None:
            self.number = signal.Signals(number)
        elif now - self._heard_s < GRACE_S:
            return
        self._heard_s = now
        raise KeyboardInterrupt

    def _swallowed(self, unraisable: Any) -> None:
        """It came where nothing can be raised, as in a callback of the import system: once more then, in a moment."""
        if not issubclass(unraisable.exc_type, KeyboardInterrupt) or self.number is None:
            self._unraisable(unraisable)
            return
        self._heard_s = -GRACE_S
        again = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), self.number))
        again.name, again.daemon = "interruption", True
        again.start()


@contextlib.contextmanager
def undisturbed(numbers: Iterable[signal.Signals] = ENDING) -> Iterator[None]:
    """These signals wait until the block is over; threads and processes that are started within it never hear them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
