"""Pictures in a .zip: nobody has to be believed, however large an entry says it is, or says it is not."""

import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from agent.board.files import Rationed, open_regular
from agent.errors import DatasetError
from agent.learning.pictures.tree import EMPTY
from agent.records import MAX_PICTURE_BYTES

MAX_DIRECTORY_BYTES = 128 << 20  # of a .zip, its names: a million of them
LEADS_NOWHERE = "it is a link, which leads nowhere from an archive"

# What the standard library makes of an archive that somebody damaged or forged.
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OverflowError, RuntimeError, ValueError)


def is_archive(source: Path) -> bool:
    """Whether it is a .zip, whose pictures can be read in this process alone."""
    try:
        return source.is_file() and zipfile.is_zipfile(source)
    except zipfile.BadZipFile:  # it is one, and forged
        return True


@contextmanager
def open_archive(source: Path) -> Iterator[zipfile.ZipFile]:
    """An archive whose directory is read up to a limit. Raises DatasetError."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Rationed(open_regular(source), MAX_DIRECTORY_BYTES))
            archive = stack.enter_context(zipfile.ZipFile(file))
        except (OSError, *_DAMAGED) as error:
            raise DatasetError(f"{source} cannot be read as a .zip: {error}") from error
        file.ration = sys.maxsize  # from now on it is read as we ask for it
        yield archive


def files_of_archive(archive: zipfile.ZipFile) -> Iterator[tuple[PurePosixPath, Callable[[], bytes] | str]]:
    """The names in it, and what reads each, which raises OSError; or why there is nothing to be read."""
    for entry in archive.infolist():
        name = entry.filename
        nothing = EMPTY if name.endswith("/") else LEADS_NOWHERE if _is_link(entry) else None
        yield PurePosixPath(name), nothing or partial(_unpacked, archive, entry)


def _is_link(entry: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(entry.external_attr >> 16)


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Raises OSError."""
    if entry.file_size > MAX_PICTURE_BYTES:  # a few bytes can unpack to gigabytes
        raise OSError(f"it unpacks to {entry.file_size} bytes, the limit is {MAX_PICTURE_BYTES}")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # the others cannot be unpacked in part
        raise OSError("it is neither stored nor deflated: pack the archive anew, by the usual method")
    try:
        with archive.open(entry) as member:
            return member.read(entry.file_size + 1)  # without a number all of it is unpacked, whatever its size says
    except _DAMAGED as error:
        raise OSError(f"it cannot be unpacked: {error}") from error
