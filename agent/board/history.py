"""Which of several is in use, on flash: a file of their names in the order in which they came into use.

One name a line; the last one is in use, and those before it are what can be returned to. The file is replaced by an
atomic rename. Each line stands alone: what is no name is passed over.
"""

import errno
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from agent.board.files import read_bounded, sync_folder, write_atomically
from agent.errors import DamagedError, StateError

log = logging.getLogger(__name__)

REMEMBERED = 100  # names: older ones are forgotten
MAX_BYTES = 64 << 10


class History:
    """For one writer at a time. Raises StateError where the file cannot be read or written."""

    def __init__(self, file: Path, name: re.Pattern[str], remedy: str, first: str | None = None) -> None:
        """`name` is what every name is like, `remedy` what writes a damaged file anew.

        `first` is in use before anything else was, and never forgotten; None where nothing is.
        """
        self._file = file
        self._name = name
        self._remedy = remedy
        self._first = first

    def names(self) -> list[str]:
        """The last one is in use; without those that a rollback took back. Raises StateError for a damaged file too."""
        try:
            lines = read_bounded(self._file, MAX_BYTES).decode("ascii", "replace").split()
        except FileNotFoundError:
            lines = [self._first] if self._first else []
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EFBIG):  # it is no file, or one of another kind
                raise DamagedError(f"{self._file} is damaged: {error}; {self._remedy} writes it anew") from error
            raise StateError(f"{self._file} cannot be read: {error.strerror}") from error
        else:
            lines = [line for line in lines if self._name.fullmatch(line)]
            if not lines:
                raise DamagedError(f"{self._file} is damaged: {self._remedy} writes it anew")
        if self._first is None or self._first in lines:
            return lines
        return [self._first, *lines]

    def readable_names(self) -> list[str]:
        """As names; none where the file cannot be read, which is logged."""
        try:
            return self.names()
        except StateError as error:
            log.warning("%s", error)
            return []

    def use(self, name: str) -> None:
        """Let this one be in use. A damaged file begins anew with it."""
        names = self.readable_names()
        if names[-1:] != [name]:
            self._write([*names, name])

    def rollback(self, is_usable: Callable[[str], bool]) -> str | None:
        """Return to the last one before that is usable; it. None where there is none, and nothing is changed."""
        names = self.names()
        in_use = names[-1:]
        while names:
            before = names.pop()
            if [before] != in_use and is_usable(before):
                self._write([*names, before])
                return before
        return None

    def forget(self) -> None:
        """None is in use any more, nor was one before."""
        try:
            self._file.unlink(missing_ok=True)
            sync_folder(self._file.parent)
        except OSError as error:
            raise StateError(f"{self._file} cannot be removed: {error.strerror or error}") from error

    def _write(self, names: list[str]) -> None:
        try:
            if self._file.is_dir():  # which no rename can replace
                aside = self._file.with_name(f".{self._file.name}.damaged")
                shutil.rmtree(aside, ignore_errors=True)
                self._file.rename(aside)
            write_atomically(self._file, "".join(f"{name}\n" for name in names[-REMEMBERED:]).encode("ascii"))
        except OSError as error:
            raise StateError(f"{self._file} cannot be written: {error.strerror or error}") from error
