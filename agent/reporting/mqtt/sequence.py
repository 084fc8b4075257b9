"""The numbers of reports: counted from 1 for each topic, across restarts, with few writes to flash.

While reports go straight to the broker the file only says which numbers may have been given: a process that was killed
then has a successor that begins beyond them. While reports wait on flash it says exactly which were given, and what was
given since stands in the reports that wait.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from agent.board.files import checked_content, checked_line, write_atomically

log = logging.getLogger(__name__)

RESERVE = 1000  # numbers that may be given before the file is written again


class Sequence:
    """For one thread at a time. Without a file it begins at 1."""

    def __init__(self, path: Path | None = None, highest: Mapping[str, int] | None = None) -> None:
        """`highest`: topic → a number that was given in any case."""
        self._path = path
        self._first = 0  # the number before the first one of a topic that is new
        self._given: dict[str, int] = {}
        if path is not None:
            self._read(path)
        for name, seq in (highest or {}).items():
            self._given[name] = max(seq, self._given.get(name, 0))
        self._kept = dict(self._given)  # as in the file
        self._exact = True

    def next(self, name: str) -> int:
        seq = self._given.get(name, self._first) + 1
        self._given[name] = seq
        if not self._exact and seq - self._kept.get(name, self._first) > RESERVE:
            self.reserve()
        return seq

    def settle(self) -> None:
        """Keep exactly which numbers were given: at the end, and while reports wait on flash."""
        self._exact = True
        self._write()

    def reserve(self) -> None:
        """Keep which numbers may be given until the next call."""
        self._exact = False
        self._write()

    def _read(self, path: Path) -> None:
        try:
            content = checked_content(path.read_bytes().removesuffix(b"\n"))
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("%s cannot be read, reports are numbered from 1 again: %s", path, error.strerror)
            return
        if content is None:
            log.warning("%s is damaged: reports are numbered from 1 again", path)
            return
        try:
            kept = json.loads(content)
            beyond = 0 if kept["exact"] else RESERVE
            first = int(kept["first"]) + beyond
            given = {name: int(seq) + beyond for name, seq in kept["given"].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            log.warning("%s is another file: reports are numbered from 1 again", path)
            return
        self._first, self._given = first, given

    def _write(self) -> None:
        self._kept = dict(self._given)
        if self._path is None:
            return
        content = json.dumps({"exact": self._exact, "first": self._first, "given": self._given}).encode()
        try:
            write_atomically(self._path, checked_line(content))
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror)
