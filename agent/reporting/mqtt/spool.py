"""Reports that wait for the broker, on flash: first in, first out, within bounds of bytes and age.

spool/00000042.log    some 64 kB of reports, the oldest first, each a line:

    crc32 in 8 hex digits, a blank, the topic below the node, a tab, seq, a tab, the payload, a line feed

Lines are written at once and synced now and then (`unsynced`): a killed process loses none, a power cut those since the
last sync. A file is deleted once all of its reports were taken, so that a crash may repeat reports, but loses none.
"""

import contextlib
import errno
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from agent.board.files import checked_content, checked_line
from agent.errors import StateError

SEGMENT_BYTES = 65_536


class Report(NamedTuple):
    name: str  # of the topic, below the node
    seq: int
    payload: bytes  # JSON without line feeds


@dataclass(slots=True)
class _Segment:
    path: Path
    count: int  # reports in it, taken or not
    size: int
    youngest: float  # when the last of them was written, by the clock of this process


class Spool:
    """For one thread at a time. `dropped` counts what went for want of room, by age, or was damaged on flash."""

    def __init__(
        self, folder: Path, max_bytes: int, max_age_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Takes up what an earlier process left. Raises StateError where the folder cannot be used."""
        self.dropped = 0
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._clock = clock
        self._segments: deque[_Segment] = deque()
        self._loaded: deque[Report] = deque()  # the first ones that were not taken yet, of whole segments
        self._loaded_segments = 0
        self._taken = 0  # of the first segment
        self._waiting = 0
        self._writing: int | None = None  # descriptor of the last segment, if it was begun here
        self._unsynced: set[Path] = set()
        self._last_number = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.highest = self._take_up()  # topic → the highest seq that was found
        except OSError as error:
            raise StateError(f"the reports in {folder} cannot be kept there: {error.strerror or error}") from error

    def __len__(self) -> int:
        """How many wait."""
        return self._waiting

    def append(self, report: Report) -> None:
        """Raises OSError, with nothing changed, where flash cannot be written."""
        line = checked_line(b"%s\t%d\t%s" % (report.name.encode(), report.seq, report.payload))
        if self._writing is None or self._segments[-1].size + len(line) > SEGMENT_BYTES:
            self._begin_segment()
        assert self._writing is not None
        segment = self._segments[-1]
        # At a known place, so that a half-written line (a full disk) is overwritten by the next try.
        if os.pwrite(self._writing, line, segment.size) != len(line):
            os.ftruncate(self._writing, segment.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        segment.size += len(line)
        segment.count += 1
        segment.youngest = self._clock()
        self._unsynced.add(segment.path)
        if self._loaded_segments == len(self._segments):
            self._loaded.append(report)
        self._waiting += 1

    def at(self, index: int) -> Report | None:
        """The report that is taken after `index` others; None if there are no more."""
        while index >= len(self._loaded) and self._loaded_segments < len(self._segments):
            self._load(self._segments[self._loaded_segments])
        return self._loaded[index] if index < len(self._loaded) else None

    def take(self) -> bool:
        """Remove the first report, which `at` has shown; whether that deleted a file."""
        self._loaded.popleft()
        self._taken += 1
        self._waiting -= 1
        return self._delete_taken()

    def trim(self, room: int = SEGMENT_BYTES) -> int:
        """Make room for so many bytes, and drop what is too old; how many reports went, from the first on."""
        gone = 0
        while self._segments and (
            sum(segment.size for segment in self._segments) + room > self._max_bytes
            or self._clock() - self._segments[0].youngest > self._max_age_s
        ):
            gone += self._drop_first()
        self.dropped += gone
        return gone

    def unsynced(self) -> list[Path]:
        """The files whose last lines may not be on flash yet; it is the caller's now to sync them."""
        paths, self._unsynced = self._unsynced, set()
        return sorted(path for path in paths if path.exists())

    def close(self) -> None:
        if self._writing is not None:
            os.close(self._writing)
            self._writing = None

    def _take_up(self) -> dict[str, int]:
        highest: dict[str, int] = {}
        now, wall = self._clock(), time.time()
        for path in sorted(self._folder.glob("*.log")):
            if not path.stem.isdecimal():
                continue
            reports, damaged, size = _read(path)
            # A clock that was set back since says nothing of an age.
            age_s = max(0.0, wall - path.stat().st_mtime)
            self._last_number = max(self._last_number, int(path.stem))
            self._segments.append(_Segment(path, len(reports), size, now - age_s))
            self._waiting += len(reports)
            self.dropped += damaged
            for report in reports:
                highest[report.name] = max(report.seq, highest.get(report.name, 0))
        self._delete_taken()
        return highest

    def _begin_segment(self) -> None:
        path = self._folder / f"{self._last_number + 1:08d}.log"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        self.close()
        self._writing = descriptor
        self._last_number += 1
        if not self._segments:
            self._loaded_segments = 1  # nothing is in it that is not loaded; a later one waits on flash for its turn
        self._segments.append(_Segment(path, 0, 0, self._clock()))

    def _load(self, segment: _Segment) -> None:
        try:
            reports, _, _ = _read(segment.path)
        except OSError:
            reports = []
        lost = segment.count - len(reports)  # to a medium that fails: it was whole when it was written, or taken up
        segment.count = len(reports)
        self._waiting -= lost
        self.dropped += lost
        self._loaded.extend(reports)
        self._loaded_segments += 1
        self._delete_taken()

    def _delete_taken(self) -> bool:
        deleted = False
        while self._segments and self._taken == self._segments[0].count:
            self._delete_first()
            deleted = True
        return deleted

    def _drop_first(self) -> int:
        left = self._segments[0].count - self._taken
        if self._loaded_segments:
            for _ in range(left):
                self._loaded.popleft()
        self._waiting -= left
        self._delete_first()
        return left

    def _delete_first(self) -> None:
        segment = self._segments.popleft()
        self._taken = 0
        self._loaded_segments = max(0, self._loaded_segments - 1)
        if not self._segments:
            self.close()
        with contextlib.suppress(OSError):  # it is read again after the next start, then
            segment.path.unlink()


def _read(path: Path) -> tuple[list[Report], int, int]:
    """The intact reports of a file, how many were damaged, and its size in bytes. Raises OSError."""
    raw = path.read_bytes()
    lines = raw.split(b"\n")
    if not lines[-1]:
        lines.pop()
    reports = [report for report in map(_report, lines) if report is not None]
    return reports, len(lines) - len(reports), len(raw)


def _report(line: bytes) -> Report | None:
    content = checked_content(line)
    if content is None:
        return None
    try:
        name, seq, payload = content.split(b"\t", 2)
        return Report(name.decode(), int(seq), payload)
    except ValueError:
        return None
