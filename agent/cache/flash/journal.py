"""The journal: one line for each thing said about the examples beside, or after, their records.

    crc32 of the JSON in 8 hex digits, a blank, JSON, a line feed

Append-only and synced, each line before the next; zeros behind the last line are space that waits. A last line
that is torn (a power cut while it was written: any of its pages may be missing) was never acknowledged and is cut
off; a damaged line elsewhere is an error of the medium and is reported.
"""

import contextlib
import errno
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agent.board.files import checked_content, checked_line, sync_folder, write_atomically

ROOM_BYTES = 16 << 10  # zeros written ahead: a line in them costs one page, a file that grows six

Entry = dict[str, Any]


class Journal:
    """Open for appending by its one owner; `read` needs no owner."""

    def __init__(self, path: Path, end: int) -> None:
        """`end` is where the intact lines end, as `read` found it; what stands behind is dropped. Raises OSError."""
        self._path = path
        fresh = not path.exists()
        self._open(end)
        if fresh:
            sync_folder(path.parent)

    def _open(self, end: int) -> None:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self.end = end  # bytes of lines
        self._size = os.fstat(self._descriptor).st_size
        if os.pread(self._descriptor, self._size - end, end).strip(b"\0"):
            os.ftruncate(self._descriptor, end)
            self._size = end
        os.fsync(self._descriptor)  # of a line that a killed process left, nobody knows whether it is on flash

    def append(self, entry: Entry) -> None:
        """Returns when the entry is on flash. Raises OSError."""
        line = _line(entry)
        if self.end + len(line) > self._size:
            self._make_room(len(line))
        # At a known place, so that a half-written line (a full disk) is overwritten by the next try.
        try:
            done = os.pwrite(self._descriptor, line, self.end)
            if done != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fdatasync(self._descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.pwrite(self._descriptor, bytes(len(line)), self.end)
            raise
        self.end += len(line)

    def _make_room(self, size: int) -> None:
        missing = self.end + size - self._size
        room = -(-missing // ROOM_BYTES) * ROOM_BYTES
        done = os.pwrite(self._descriptor, bytes(room), self._size)
        if done != room:
            os.ftruncate(self._descriptor, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += room

    def replace(self, entries: Iterable[Entry]) -> None:
        """Put other entries in the place of all of them, at once or not at all. Raises OSError."""
        content = b"".join(map(_line, entries))
        write_atomically(self._path, content)
        os.close(self._descriptor)
        self._open(len(content))

    def close(self) -> None:
        os.close(self._descriptor)


def read(path: Path) -> tuple[list[Entry], list[int], int, int]:
    """The entries of a journal, the numbers (from 1) of damaged lines, where the torn line begins, and its bytes.

    It is read twice, as far as it went at first: so all but the last line are complete, also while somebody writes.
    """
    try:
        with path.open("rb") as file:
            size = len(file.read().rstrip(b"\0"))
            file.seek(0)
            raw = file.read(size)
    except FileNotFoundError:
        return [], [], 0, 0
    lines = raw.split(b"\n")
    torn = lines.pop()  # what stands behind the last line feed
    if not torn and lines and checked_content(lines[-1]) is None:  # its end is there, and a page before it is not
        torn = lines.pop() + b"\n"
    entries, damaged = [], []
    for number, line in enumerate(lines, 1):
        entry = _entry(line)
        if entry is None:
            damaged.append(number)
        else:
            entries.append(entry)
    return entries, damaged, len(raw) - len(torn), len(torn)


def _line(entry: Entry) -> bytes:
    return checked_line(json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode())


def _entry(line: bytes) -> Entry | None:
    text = checked_content(line)
    try:
        entry = json.loads(text) if text is not None else None
    except ValueError:  # a line of another file of ours
        return None
    return entry if isinstance(entry, dict) else None
