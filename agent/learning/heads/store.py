"""The heads on flash: every version in a folder of its own, and which of them is in service.

heads/3/head.npz      the head (head.py says how it checks itself)
heads/3/report.json   how it was made: solver, settings, curves, figures, what the gate said; with a sha256 of its own
heads/active          the versions in the order in which they went into service, one a line: the last one is in service;
                      replaced by an atomic rename
"""

import errno
import fcntl
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from agent.board.files import read_bounded, sync_folder, write_atomically
from agent.board.history import History
from agent.errors import DamagedError, MismatchError, RefusedHeadError, StateError, UnknownHeadError
from agent.learning.heads.report import checked, sealed, summary, unsealed
from agent.learning.solving.head import Form, Head

log = logging.getLogger(__name__)

KEEP = 20
MAX_BYTES = 256 << 20  # of a file: the most that comes over HTTP

_VERSION = re.compile(r"0|[1-9][0-9]{0,17}")


class Listing(NamedTuple):
    """Of the store, for whoever looks."""

    active: str | None  # the version in service
    heads: list[dict[str, Any]]  # the summary of each, oldest first
    error: str | None  # why it cannot be said which is in service, or why it cannot be


class HeadStore:
    """Versions are decimal numbers that only grow. Raises StateError where flash fails. Any number of processes."""

    def __init__(self, folder: Path, keep: int = KEEP, form: Form | None = None) -> None:
        """Beyond `keep` heads, the oldest go; never the one in service, nor the one that a rollback would return to.

        `form` is of the backbone's bottlenecks: a head that cannot serve it is neither stored nor put into service.
        None for whoever does neither.
        """
        self._folder = folder
        self._form = form
        self._keep = keep
        self._history = History(folder / "active", _VERSION, "`lastlayer heads activate VERSION`")

    def versions(self) -> list[str]:
        """Oldest first."""
        numbers = [int(path.name) for path in self._folder.glob("*/") if _VERSION.fullmatch(path.name)]
        return [str(number) for number in sorted(numbers)]

    def add(self, head: Head, report: dict[str, Any]) -> str:
        """Store a head, whole or not at all; its version.

        Raises MismatchError or DamagedError for one that cannot serve; nothing is stored then.
        """
        head.check(self._form)
        with self._writing():
            version = str(int((self.versions() or ["0"])[-1]) + 1)
            partial = self._folder / f".{version}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            write_atomically(partial / "head.npz", head.to_bytes())
            write_atomically(partial / "report.json", sealed({**report, "version": version}))
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
            write_atomically(self._folder / version / "report.json", sealed(report))

    def load(self, version: str) -> Head:
        """Raises UnknownHeadError, and DamagedError where the file is damaged or holds what can serve no backbone."""
        return Head.from_bytes(self._read(version, "head.npz"))

    def load_for_service(self, version: str) -> Head:
        """As load. Raises MismatchError too, for a head that cannot serve the backbone here."""
        try:
            head = self.load(version)
            head.check(self._form)
        except (MismatchError, DamagedError) as error:
            raise type(error)(f"head {version} cannot serve: {error}; activate another one, or retrain") from error
        return head

    def report(self, version: str) -> dict[str, Any]:
        """How a head was made. Raises UnknownHeadError, and DamagedError for what is damaged or of other types."""
        try:
            report = self._unsealed(version)
            checked(report)
        except ValueError as error:
            raise self._damaged(version, error) from error
        return report

    def _unsealed(self, version: str) -> dict[str, Any]:
        """A report as it lies there. Raises UnknownHeadError, StateError, ValueError."""
        return {**unsealed(self._read(version, "report.json")), "version": version}

    def _damaged(self, version: str, error: ValueError) -> DamagedError:
        path = self._folder / version / "report.json"
        return DamagedError(f"{path} is damaged: {error}. The head itself can be used all the same")

    def summary(self, version: str) -> dict[str, Any]:
        """The summary of a head's report; where that is damaged, `error` says so, and labels come from the head.

        Raises UnknownHeadError.
        """
        try:
            return summary(self._unsealed(version))
        except ValueError as error:
            known: dict[str, Any] = {"version": version, "error": str(self._damaged(version, error))}
        except StateError as error:
            known = {"version": version, "error": str(error)}
        try:
            head = self.load(version)
            known |= {"labels": list(head.labels), "backbone_id": head.backbone_id}
        except StateError as error:
            known["error"] = str(error)
        return {**summary({}), **known}

    def listing(self) -> Listing:
        """All that are there, whatever is damaged."""
        heads = []
        for version in self.versions():
            with suppress(UnknownHeadError):  # it went just now
                heads.append(self.summary(version))
        try:
            active, error = self.active(), None
        except StateError as damage:
            return Listing(None, heads, str(damage))
        if active is not None and active not in [head["version"] for head in heads]:
            error = f"head {active} is to be in service and is not there: `lastlayer heads activate VERSION`"
        return Listing(active, heads, error)

    def active(self) -> str | None:
        """The version in service; None before the first."""
        history = self.history()
        return history[-1] if history else None

    def history(self) -> list[str]:
        """The versions in the order in which they went into service; the last one is in service."""
        return self._history.names()

    def activate(self, version: str, *, force: bool = False) -> Head:
        """Put a head into service, if it can serve; the head.

        Raises UnknownHeadError, MismatchError and DamagedError for one that cannot, and RefusedHeadError for a head
        that the gate refused, unless `force` is said.
        """
        head = self.load_for_service(version)
        refusal = self.refusal(version)
        if refusal is not None and not force:
            raise RefusedHeadError(f"head {version} was refused: {refusal}. To use it all the same, force it")
        with self._writing():
            self._history.use(version)
        return head

    def rollback(self) -> str | None:
        """Put the head into service that was so before; its version. Those that are gone or cannot serve are skipped.

        None where the one in service cannot serve and no other was before it: then none is in service any more.
        Raises UnknownHeadError where there is none to return to, and the one in service can stay.
        """
        with self._writing():
            before = self._history.rollback(self._can_serve)
            in_service = self.active()
            if before is None and in_service is not None and not self._can_serve(in_service):
                self._history.forget()
                return None
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

    def _can_serve(self, version: str) -> bool:
        try:
            self.load_for_service(version)
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
        if not _VERSION.fullmatch(version) or not (self._folder / version).is_dir():
            known = ", ".join(self.versions()) or "none yet"
            raise UnknownHeadError(f"there is no head {version!r}; there are: {known}")
        try:
            return read_bounded(self._folder / version / name, MAX_BYTES)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINVAL, errno.EFBIG):  # there is none, or something else
                raise DamagedError(f"{self._folder / version / name} cannot be used: {error.strerror}") from error
            raise StateError(f"{self._folder / version / name} cannot be read: {error.strerror}") from error
