"""A process that is killed between two system calls, and a power cut after it, played in one process."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.cache import Cache

SYNCS = ("fsync", "fdatasync")
_CALLS = ("pwrite", "fsync", "fdatasync", "rename", "replace", "unlink", "ftruncate", "posix_fallocate")


class Killed(BaseException):
    """No handler for errors sees it."""


@contextmanager
def killed_at(call: int, names: tuple[str, ...] = _CALLS) -> Iterator[Callable[[], int]]:
    """From the so-many-th call on (from 0), nothing changes any more; gives the calls so far."""
    made = 0

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            nonlocal made
            made += 1
            if made > call:
                raise Killed
            return original(*arguments, **options)

        return wrapper

    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setattr(os, name, counted(getattr(os, name)))
        yield lambda: made


def abandon(cache: Cache) -> None:
    """What the kernel does with the files of a process that died."""
    assert cache._writer is not None and cache._held is not None
    cache._writer.changes.close()
    os.close(cache._held)
    cache._writer = cache._held = None


class Flash:
    """What is on flash of the files of a folder: what was synced, and any of the pages that were written since.

    Names and sizes are there at once, as if each were synced by itself. What was never synced is zeros.
    """

    def __init__(self, folder: Path, page_bytes: int) -> None:
        self._folder = folder
        self._page_bytes = page_bytes
        self._synced: dict[int, bytes] = {}  # by inode

    def sync(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}")
        if path.is_file():
            self._synced[os.fstat(descriptor).st_ino] = path.read_bytes()

    def unsynced(self) -> list[tuple[Path, int]]:
        """The pages that differ from what was synced: their files and offsets."""
        found = []
        for path in sorted(self._folder.iterdir()):
            now, before = self._both(path)
            starts = range(0, len(now), self._page_bytes)
            size = self._page_bytes
            found += [(path, at) for at in starts if now[at : at + size] != before[at : at + size]]
        return found

    def cut(self, lost: set[tuple[Path, int]]) -> None:
        """The power goes, and of the pages that were not synced these stay as they were."""
        for path in sorted(self._folder.iterdir()):
            now, before = self._both(path)
            left = bytearray(now)
            for at in (at for of, at in lost if of == path):
                left[at : at + self._page_bytes] = before[at : at + self._page_bytes]
            if left != now:
                with path.open("r+b") as file:
                    file.write(left)
            self._synced[path.stat().st_ino] = bytes(left)

    def _both(self, path: Path) -> tuple[bytes, bytes]:
        now = path.read_bytes()
        before = self._synced.get(path.stat().st_ino, b"")
        return now, before[: len(now)].ljust(len(now), b"\0")


@contextmanager
def flash(folder: Path, page_bytes: int = 512) -> Iterator[Flash]:
    """Watches what is synced in a folder; what is there already is."""
    watched = Flash(folder, page_bytes)

    def noting(original: Callable[[int], None]) -> Callable[[int], None]:
        def wrapper(descriptor: int) -> None:
            original(descriptor)
            watched.sync(descriptor)

        return wrapper

    if folder.is_dir():
        watched.cut(set())
    with pytest.MonkeyPatch.context() as patch:
        for name in SYNCS:
            patch.setattr(os, name, noting(getattr(os, name)))
        yield watched
