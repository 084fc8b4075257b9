"""The journal: one line for each thing said about the examples after, or beside, their records.

    crc32 of the JSON in 8 hex digits, a blank, JSON, a line feed

Append-only and synced. A torn last line (a power cut while it was written) was never
acknowledged and is cut off; a damaged line elsewhere is an error of the medium and is
reported.
"""

import json
import os
import zlib
from pathlib import Path
from typing import Any

from agent.files import sync_folder


class Journal:
    """Open for appending by its one owner; `read` needs no owner."""

    def __init__(self, path: Path) -> None:
        fresh = not path.exists()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._end = os.fstat(self._descriptor).st_size
        if fresh:
            sync_folder(path.parent)

    def append(self, entry: dict[str, Any]) -> None:
        """Returns when the entry is on flash. Raises OSError."""
        line = _line(entry)
        # At a known place, so that a half-written line (a full disk) is overwritten by the next try.
        done = os.pwrite(self._descriptor, line, self._end)
        if done != len(line):
            os.ftruncate(self._descriptor, self._end)
            raise OSError(28, "No space left on device")
        os.fsync(self._descriptor)
        self._end += len(line)

    def cut(self, size: int) -> None:
        """Drop all behind the first `size` bytes: a torn tail. Raises OSError."""
        os.ftruncate(self._descriptor, size)
        os.fsync(self._descriptor)
        self._end = size

    def close(self) -> None:
        os.close(self._descriptor)


def read(path: Path) -> tuple[list[dict[str, Any]], list[int], int]:
    """The entries of a journal, the numbers (from 1) of damaged lines, and the length in bytes up to a torn tail."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return [], [], 0
    lines = raw.split(b"\n")
    torn = lines.pop()  # what stands behind the last line feed
    entries, damaged = [], []
    for number, line in enumerate(lines, 1):
        entry = _entry(line)
        if entry is None:
            damaged.append(number)
        else:
            entries.append(entry)
    return entries, damaged, len(raw) - len(torn)


def _line(entry: dict[str, Any]) -> bytes:
    text = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _entry(line: bytes) -> dict[str, Any] | None:
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    entry: dict[str, Any] = json.loads(text)
    return entry
