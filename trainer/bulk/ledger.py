"""How far the bottlenecks of a corpus are, and what was left out.

progress.json   replaced as a whole after every group of examples that is on flash
skipped.csv     columns file,class,reason: what could not be read, or stands there twice with two labels

The cache is written first, then the list, then the progress. So a crash at any point leaves at most some examples
that the progress does not know of yet, and some lines too many, which the next start cuts off.
"""

import csv
import hashlib
import io
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.board.files import write_atomically
from agent.errors import StateError
from agent.learning.pictures.labelled import LabelledPicture

PROGRESS, SKIPPED = "progress.json", "skipped.csv"
FORMAT = 1
_HEADING = ("file", "class", "reason")


@dataclass
class Account:
    corpus: str  # which pictures in which order: see identity
    began_ms: int  # of the first start, unix ms; a picture's stamp is this and its place
    pictures: int
    done: int = 0  # pictures of which it is decided what becomes of them
    added: int = 0
    known: int = 0  # seen before with the same label
    contradicting: int = 0  # seen before with another label: the first one stands
    unreadable: int = 0
    skipped_bytes: int = 0  # of the list that belong to this


def identity(pictures: Sequence[LabelledPicture]) -> str:
    """32 hex digits of the names, labels and splits of a corpus, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for picture in pictures:
        digest.update(f"{picture.name}\0{picture.label}\0{picture.split}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


class Ledger:
    """Used by the one process that holds the cache open for writing."""

    def __init__(self, folder: Path, pictures: Sequence[LabelledPicture], later_than_ms: int = 0) -> None:
        """Go on with the corpus in `folder`, or begin it; the stamps of a new one are later than `later_than_ms`.

        Raises StateError where the folder cannot be read or written.
        """
        self._folder = folder
        self._lines = io.StringIO()
        corpus = identity(pictures)
        try:
            found = _read(folder / PROGRESS)
            resumed = found if found is not None and found.corpus == corpus else None
            began_ms = max(int(time.time() * 1000), later_than_ms + 1)
            self.account = resumed or Account(corpus, began_ms, len(pictures))
            self._open_list()
            self.commit()
        except OSError as error:
            raise _unwritable(folder, error) from error

    def _open_list(self) -> None:
        path = self._folder / SKIPPED
        with path.open("a+b") as file:
            file.truncate(self.account.skipped_bytes)
        if not self.account.skipped_bytes:
            csv.writer(self._lines, lineterminator="\n").writerow(_HEADING)

    @property
    def skipped(self) -> Path:
        """The list of what was left out."""
        return self._folder / SKIPPED

    def skip(self, picture: LabelledPicture, reason: str) -> None:
        """Name a picture in the list, from the next commit on."""
        csv.writer(self._lines, lineterminator="\n").writerow((picture.name, picture.label, reason))

    def commit(self) -> None:
        """Returns when all that was said is on flash. Raises StateError."""
        try:
            lines = self._lines.getvalue().encode(errors="surrogateescape")
            if lines:
                self._append(lines)
                self._lines = io.StringIO()
            content = {"format": FORMAT, **asdict(self.account)}
            write_atomically(self._folder / PROGRESS, json.dumps(content, indent=1).encode())
        except OSError as error:
            raise _unwritable(self._folder, error) from error

    def _append(self, lines: bytes) -> None:
        with self.skipped.open("r+b") as file:
            file.truncate(self.account.skipped_bytes)  # a half of it, from a try when the disk was full
            file.seek(self.account.skipped_bytes)
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        self.account.skipped_bytes += len(lines)


def _read(path: Path) -> Account | None:
    try:
        content = json.loads(path.read_text("utf-8"))
        if content.pop("format") != FORMAT:
            return None
        return Account(**content)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(f"{path} cannot be read ({error}): delete it, and all pictures are looked at again") from error


def _unwritable(folder: Path, error: OSError) -> StateError:
    if isinstance(error, StateError):
        return error
    return StateError(f"{folder} cannot be written: {error.strerror or error}")
