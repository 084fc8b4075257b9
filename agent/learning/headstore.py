"""The heads on flash: every version in a folder of its own, and which of them is in service.

heads/3/head.npz      the head (head.py says how it checks itself)
heads/3/report.json   how it was made: solver, settings, curves, figures
heads/active          the version in service; replaced by an atomic rename
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.errors import StateError, UnknownHeadError
from agent.files import sync_folder, write_atomically
from agent.learning.head import Head

KEEP = 20

_SUMMARY = ("version", "created_ms", "labels", "examples", "solver", "top1", "top5", "backbone_id")


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """The part of a head's report that fits into a list: no curves, no confusion matrix."""
    return {key: report.get(key) for key in _SUMMARY}


class HeadStore:
    """Versions are decimal numbers that only grow. Raises StateError where flash fails."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def versions(self) -> list[str]:
        """Oldest first."""
        numbers = [int(path.name) for path in self._folder.glob("*/") if path.name.isdecimal()]
        return [str(number) for number in sorted(numbers)]

    def add(self, head: Head, report: dict[str, Any]) -> str:
        """Store a head, whole or not at all; its version. Beyond KEEP the oldest that are not in service go."""
        with self._writing():
            version = str(int((self.versions() or ["0"])[-1]) + 1)
            partial = self._folder / f".{version}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            write_atomically(partial / "head.npz", head.to_bytes())
            write_atomically(partial / "report.json", json.dumps({"version": version, **report}).encode())
            partial.rename(self._folder / version)
            sync_folder(self._folder)
            for old in self.versions()[:-KEEP]:
                if old != self.active():
                    shutil.rmtree(self._folder / old, ignore_errors=True)
        return version

    def load(self, version: str) -> Head:
        """Raises UnknownHeadError, and StateError where the file is damaged."""
        return Head.from_bytes(self._read(version, "head.npz"))

    def report(self, version: str) -> dict[str, Any]:
        """How a head was made. Raises UnknownHeadError, and StateError where the file is damaged."""
        try:
            report: dict[str, Any] = json.loads(self._read(version, "report.json"))
        except ValueError as error:
            raise StateError(f"{self._folder / version / 'report.json'} is damaged: {error}") from error
        return report

    def active(self) -> str | None:
        """The version in service; None before the first."""
        try:
            return (self._folder / "active").read_text("ascii").strip() or None
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise StateError(f"{self._folder / 'active'} cannot be read: {error}") from error

    def activate(self, version: str) -> Head:
        """Put a head into service, if it loads; the head."""
        head = self.load(version)
        with self._writing():
            write_atomically(self._folder / "active", f"{version}\n".encode("ascii"))
        return head

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Alone: the daemon's retraining and a person's may come together. A crash cannot leave the lock behind."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StateError(f"the heads in {self._folder} cannot be written: {error.strerror or error}") from error

    def _read(self, version: str, name: str) -> bytes:
        if not version.isdecimal() or not (self._folder / version).is_dir():
            known = ", ".join(self.versions()) or "none yet"
            raise UnknownHeadError(f"there is no head {version!r}; there are: {known}")
        try:
            return (self._folder / version / name).read_bytes()
        except OSError as error:
            raise StateError(f"{self._folder / version / name} cannot be read: {error.strerror}") from error
