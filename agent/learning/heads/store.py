"""The heads on flash: every version in a folder of its own, and which of them is in service.

heads/3/head.npz      the head (head.py says how it checks itself)
heads/3/report.json   how it was made: solver, settings, curves, figures, what the gate said; with a sha256 of its own
heads/active          the versions in the order in which they went into service, one a line: the last one is in service;
                      replaced by an atomic rename
"""

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.board.files import sync_folder, write_atomically
from agent.board.history import History
from agent.errors import RefusedHeadError, StateError, UnknownHeadError
from agent.learning.solving.head import Head

log = logging.getLogger(__name__)

KEEP = 20

_VERSION = re.compile(r"[0-9]+")
_SUMMARY = ("version", "created_ms", "labels", "examples", "solver", "top1", "top5", "backbone_id", "accepted")


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """The part of a head's report that fits into a list: no curves, no confusion matrix.

    `accepted` is what the gate said: true, false, or null for a head that it never judged.
    """
    return {key: report.get(key) for key in _SUMMARY} | {"accepted": (report.get("gate") or {}).get("accepted")}


class HeadStore:
    """Versions are decimal numbers that only grow. Raises StateError where flash fails. Any number of processes."""

    def __init__(self, folder: Path, keep: int = KEEP) -> None:
        """Beyond `keep` heads, the oldest go; never the one in service, nor the one that a rollback would return to."""
        self._folder = folder
        self._keep = keep
        self._history = History(folder / "active", _VERSION, "`lastlayer heads activate VERSION`")

    def versions(self) -> list[str]:
        """Oldest first."""
        numbers = [int(path.name) for path in self._folder.glob("*/") if path.name.isdecimal()]
        return [str(number) for number in sorted(numbers)]

    def add(self, head: Head, report: dict[str, Any]) -> str:
        """Store a head, whole or not at all; its version."""
        with self._writing():
            version = str(int((self.versions() or ["0"])[-1]) + 1)
            partial = self._folder / f".{version}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            write_atomically(partial / "head.npz", head.to_bytes())
            write_atomically(partial / "report.json", _sealed({"version": version, **report}))
            partial.rename(self._folder / version)
            sync_folder(self._folder)
            versions = self.versions()
            needed = set(versions[-self._keep :]) | set(self._in_order_of_service(versions)[-2:])
            for old in versions:
                if old not in needed:
                    shutil.rmtree(self._folder / old, ignore_errors=True)
        return version

    def judged(self, version: str, verdict: dict[str, Any]) -> None:
        """Write what the gate said of a head into its report, as `gate`."""
        report = {**self.report(version), "gate": verdict}
        with self._writing():
            write_atomically(self._folder / version / "report.json", _sealed(report))

    def load(self, version: str) -> Head:
        """Raises UnknownHeadError, and StateError where the file is damaged."""
        return Head.from_bytes(self._read(version, "head.npz"))

    def report(self, version: str) -> dict[str, Any]:
        """How a head was made. Raises UnknownHeadError, and StateError where the file is damaged."""
        try:
            report = json.loads(self._read(version, "report.json"))
            if not isinstance(report, dict):
                raise ValueError("it is no JSON object")
            seal = report.pop("sha256", None)  # none in those of before there was one
            if seal is not None and seal != _seal(report):
                raise ValueError("its sha256 does not match")
        except (ValueError, RecursionError) as error:
            path = self._folder / version / "report.json"
            raise StateError(f"{path} is damaged: {error}. The head itself can be used all the same") from error
        return report

    def summary(self, version: str) -> dict[str, Any]:
        """The summary of a head's report; where that is damaged, `error` says so, and labels come from the head.

        Raises UnknownHeadError.
        """
        try:
            return summary(self.report(version))
        except StateError as error:
            known: dict[str, Any] = {"version": version, "error": str(error)}
        try:
            head = self.load(version)
            known |= {"labels": list(head.labels), "backbone_id": head.backbone_id}
        except StateError as error:
            known["error"] = str(error)
        return {**summary({}), **known}

    def active(self) -> str | None:
        """The version in service; None before the first."""
        history = self.history()
        return history[-1] if history else None

    def history(self) -> list[str]:
        """The versions in the order in which they went into service; the last one is in service."""
        return self._history.names()

    def activate(self, version: str, *, force: bool = False) -> Head:
        """Put a head into service, if it loads; the head.

        Raises RefusedHeadError for a head that the gate refused, unless `force` is said.
        """
        head = self.load(version)
        refusal = self.refusal(version)
        if refusal is not None and not force:
            raise RefusedHeadError(f"head {version} was refused: {refusal}. To use it all the same, force it")
        with self._writing():
            self._history.use(version)
        return head

    def rollback(self) -> str:
        """Put the head into service that was so before; its version. Those that are gone or damaged are skipped.

        Raises UnknownHeadError where there is none.
        """
        with self._writing():
            before = self._history.rollback(self._loads)
            in_service = self.active()
        if before is None:
            raise UnknownHeadError(
                f"there is no head to return to: {'none' if in_service is None else f'head {in_service}'} is in "
                "service, and none that still exists was before it"
            )
        return before

    def refusal(self, version: str) -> str | None:
        """Why the gate refused a head; None if it did not, or that is not known any more."""
        try:
            gate = self.report(version).get("gate") or {}
        except StateError as error:
            log.warning("%s", error)
            return None
        return str(gate.get("reason")) if gate.get("accepted") is False else None

    def _loads(self, version: str) -> bool:
        try:
            self.load(version)
        except (UnknownHeadError, StateError) as error:
            log.warning("head %s is passed over: %s", version, error)
            return False
        return True

    def _in_order_of_service(self, versions: list[str]) -> list[str]:
        """Of those versions, each once, the one in service last."""
        latest = dict.fromkeys(reversed(self._history.readable_names()))
        return [version for version in reversed(latest) if version in versions]

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
        except StateError:
            raise
        except OSError as error:
            raise StateError(f"the heads in {self._folder} cannot be written: {error.strerror or error}") from error

    def _read(self, version: str, name: str) -> bytes:
        if not version.isdecimal() or len(version) > 20 or not (self._folder / version).is_dir():
            known = ", ".join(self.versions()) or "none yet"
            raise UnknownHeadError(f"there is no head {version!r}; there are: {known}")
        try:
            return (self._folder / version / name).read_bytes()
        except OSError as error:
            raise StateError(f"{self._folder / version / name} cannot be read: {error.strerror}") from error


def _sealed(report: dict[str, Any]) -> bytes:
    plain = json.loads(json.dumps({key: value for key, value in report.items() if key != "sha256"}))
    return json.dumps({**plain, "sha256": _seal(plain)}).encode()


def _seal(report: dict[str, Any]) -> str:
    """The sha256 of the report's JSON, keys sorted, without blanks, in hex."""
    return hashlib.sha256(json.dumps(report, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
