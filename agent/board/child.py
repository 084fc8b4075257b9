"""A child process: started, heard, given a deadline, ended and closed.

Whoever waits for it reads both of its pipes at once, in his own thread: a child that says much on one of them never
stands still because somebody listens to the other, and what is kept of its words has a bound.
"""

import contextlib
import math
import os
import selectors
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.errors import ChildError

MAX_STDOUT_BYTES = 16 << 20  # a report of thousands of labels takes one
MAX_LINE_BYTES = 1 << 20  # of stderr; of a longer one the end is kept
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # of numpy: for one that works beside the frames

_ROOT = Path(__file__).resolve().parents[2]
_LOOK_S = 0.5  # a child has ended, and no pipe says so, where a process that it started has them still
_LAST_WORDS_S = 1.0  # for what it said before it ended, where such a process goes on talking
_CHUNK = 1 << 16


def environment(**more: str) -> dict[str, str]:
    """That of this process and `more`, in which `python -m agent…` is this package, wherever the child starts."""
    search_path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": search_path, "PYTHONSAFEPATH": "1", **more}


@dataclass(frozen=True)
class Ended:
    """How a child ended, and what it said."""

    code: int  # below zero: of the signal that ended it
    stdout: str
    last_words: str  # the last line of stderr with something in it; "" where there was none


class Child:
    """Belongs to one thread, which must wait for it; others may kill it, and one may tell it something meanwhile."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None, *, listens: bool = False) -> None:
        """Start it, in `environment()` if in no other. Where it `listens`, its stdin is for `tell`; else it is empty.

        Raises ChildError where it cannot be started.
        """
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if listens else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=environment() if env is None else env,
            )
        except OSError as error:
            raise ChildError(f"`{' '.join(command[:3])}` cannot be started: {error.strerror or error}") from error
        self.pid = self._process.pid

    def tell(self, line: str) -> None:
        """Write a line to its stdin. What has ended hears nothing."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.write(f"{line}\n".encode())

    def kill(self) -> None:
        """From any thread, also when it has ended."""
        self._process.kill()

    def wait(self, timeout: float = math.inf, take: Callable[[str], bool] = lambda line: False) -> Ended:
        """Hear it until it has ended. To be called once.

        `take` is called with each line of its stderr, as it comes: true for one that is not to be its last words.
        Raises TimeoutError after `timeout` seconds, ChildError where it says more than 16 MiB on stdout, and what
        `take` raises. It has ended then too: nothing of it is left, whatever happens.
        """
        deadline = time.monotonic() + timeout
        with self._process as process:  # which closes its pipes and reaps it
            try:
                stdout, last_words = self._heard(deadline, take)
                code = process.wait(max(deadline - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                raise TimeoutError from None
            finally:
                self.kill()
        return Ended(code, stdout.decode("utf-8", "replace"), last_words)

    def _heard(self, deadline: float, take: Callable[[str], bool]) -> tuple[bytes, str]:
        """What it says until it closes its pipes, or has ended: stdout, and its last words."""
        stdout, stderr = bytearray(), _Lines(take)
        assert self._process.stdout is not None and self._process.stderr is not None
        with selectors.PollSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ, stdout.extend)
            selector.register(self._process.stderr, selectors.EVENT_READ, stderr.extend)
            while selector.get_map():
                has_ended = self._process.poll() is not None
                now = time.monotonic()
                if has_ended:
                    deadline = min(deadline, now + _LAST_WORDS_S)
                ready = selector.select(0 if has_ended else min(_LOOK_S, max(deadline - now, 0)))
                if has_ended and (not ready or now > deadline):
                    break
                if now > deadline:
                    raise TimeoutError
                for key, _ in ready:
                    said = os.read(key.fd, _CHUNK)
                    key.data(said)
                    if not said:
                        selector.unregister(key.fileobj)
                if len(stdout) > MAX_STDOUT_BYTES:
                    raise ChildError(f"a child process said more than {MAX_STDOUT_BYTES >> 20} MiB: that is no answer")
        stderr.extend(b"\n")
        return bytes(stdout), stderr.last


class _Lines:
    """Gives each line that comes in pieces to `take`, and keeps the last that it does not take."""

    def __init__(self, take: Callable[[str], bool]) -> None:
        self._take = take
        self._pending = b""
        self.last = ""

    def extend(self, piece: bytes) -> None:
        *lines, pending = (self._pending + piece).split(b"\n")
        self._pending = pending[-MAX_LINE_BYTES:]
        for line in lines:
            text = line.decode("utf-8", "replace").strip()
            if text and not self._take(text):
                self.last = text
