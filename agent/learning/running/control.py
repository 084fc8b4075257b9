"""The child's end of the pipe by which a daemon controls its retraining.

A line `pause` or `resume` does what it says. The end of the pipe ends the process: the daemon is gone, however it
went, and nobody would hear of the new head. Nothing is ever stopped by a signal that somebody would have to take back.
"""

import os
import signal
import threading
import time

PAUSE, RESUME = "pause", "resume"


class Control:
    """Reads commands in a thread named `control`, which ends with the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._may_run = threading.Event()
        self._may_run.set()
        self.paused_s = 0.0
        threading.Thread(target=self._read, name="control", daemon=True).start()

    def should_stop(self) -> bool:
        """False, but not before the training may go on."""
        if not self._may_run.is_set():
            began = time.monotonic()
            self._may_run.wait()
            self.paused_s += time.monotonic() - began
        return False

    def _read(self) -> None:
        # Not through sys.stdin: a thread that waits in it when the process ends makes the interpreter abort.
        pending = ""
        while received := os.read(self._descriptor, 4096):
            *lines, pending = (pending + received.decode("ascii", "replace")).split("\n")
            for line in lines:
                if line == PAUSE:
                    self._may_run.clear()
                elif line == RESUME:
                    self._may_run.set()
        os.kill(os.getpid(), signal.SIGTERM)
