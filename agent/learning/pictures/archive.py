"""Pictures in a .zip: nobody has to be believed, however large an entry says it is, or says it is not.

Nor what its name is written in. Whoever says so means UTF-8; who does not, may mean it all the same (macOS, Linux), or
the code page of MS-DOS. Some write backslashes. A name is only read, never a place on the disk.
"""

import re
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

_ENCRYPTED, _UTF_8 = 0x0041, 0x0800  # flags of an entry
_UNICODE_PATH = 0x7075  # Info-ZIP's extra field: its version, the CRC-32 of the name that it stands for, the name


def is_archive(source: Path) -> bool:
    """Whether it is a .zip, or is called one; its pictures can be read in this process alone."""
    try:
        return source.is_file() and (source.suffix.lower() == ".zip" or zipfile.is_zipfile(source))
    except zipfile.BadZipFile:  # it is one, and forged
        return True


@contextmanager
def open_archive(source: Path) -> Iterator[zipfile.ZipFile]:
    """An archive whose directory is read up to a limit. Raises DatasetError."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Rationed(open_regular(source), MAX_DIRECTORY_BYTES))
            archive = stack.enter_context(zipfile.ZipFile(file))
        except Exception as error:  # zipfile raises all sorts at what somebody damaged or forged
            raise DatasetError(f"{source} cannot be read as a .zip: {error}; copy again what is torn") from error
        if any(entry.volume not in (0, 0xFFFF) for entry in archive.infolist()):  # the latter says nothing
            raise DatasetError(f"{source} is a part of a split archive: join its parts, as `zip -s 0 --out` does")
        file.ration = sys.maxsize  # from now on it is read as we ask for it
        yield archive


def files_of_archive(archive: zipfile.ZipFile) -> Iterator[tuple[PurePosixPath, Callable[[], bytes] | str]]:
    """The names in it, and what reads each, which raises OSError; or why there is nothing to be read."""
    for entry in archive.infolist():
        name = _name(entry)
        nothing = EMPTY if name.endswith(("/", "\\")) else LEADS_NOWHERE if _is_link(entry) else None
        yield path_inside(name), nothing or partial(_unpacked, archive, entry)


def _is_link(entry: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(entry.external_attr >> 16)


def path_inside(name: str) -> PurePosixPath:
    """A name in an archive without what leads out of it: a drive, the root, the folder above."""
    parts = re.sub(r"^[A-Za-z]:", "", name.replace("\\", "/")).split("/")
    return PurePosixPath(*(part for part in parts if part != ".."))


def _name(entry: zipfile.ZipInfo) -> str:
    if entry.flag_bits & _UTF_8:
        return entry.orig_filename
    written = entry.orig_filename.encode("cp437")  # as which zipfile reads it: any byte is a character there
    try:
        return (_unicode_path(entry.extra, written) or written).decode()
    except UnicodeDecodeError:
        return entry.orig_filename


def _unicode_path(extra: bytes, written: bytes) -> bytes | None:
    """What an extra field says the name is, if it is about the name that is written."""
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and field[:5] == struct.pack("<BL", 1, zlib.crc32(written)):
            return field[5:]
    return None


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Raises OSError."""
    if entry.file_size > MAX_PICTURE_BYTES:  # a few bytes can unpack to gigabytes
        raise OSError(f"it unpacks to {entry.file_size} bytes, the limit is {MAX_PICTURE_BYTES}")
    if entry.flag_bits & _ENCRYPTED:
        raise OSError("it is encrypted: pack the archive anew, without a password")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # the others cannot be unpacked in part
        raise OSError("it is neither stored nor deflated: pack the archive anew, by the usual method")
    try:
        with archive.open(entry) as member:
            return member.read(entry.file_size + 1)  # without a number all of it is unpacked, whatever its size says
    except Exception as error:  # as above
        raise OSError(f"it cannot be unpacked: {error}") from error
