"""Pictures in a watched folder: found, read, and put away.

Others may write there. So nothing is followed out of it: folders and files are opened
relative to each other, symbolic links are not followed, and what is no regular file
is not opened. Names are any bytes, as os.fsdecode gives them.
"""

import io
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import PurePath
from typing import NamedTuple

from agent.board.files import open_regular
from agent.learning.pictures.labelled import SUFFIXES, is_of_system

DONE, BAD = "done", "bad"  # subfolders of the watched folder, for what was dealt with
KEEP_BAD = 100  # where pictures are deleted, so many bad ones of each camera are kept to be looked at
MAX_DEPTH = 16  # of a folder below the watched one, which has 0
MAX_NAME_BYTES = 255

_ENDINGS = tuple(SUFFIXES)


class Place(NamedTuple):
    """Where a picture lies; or, without a name, the folder itself."""

    folder: str  # its path below the watched folder; "" for that itself
    name: str

    @property
    def camera(self) -> str:
        """The folder of the first level; "" for the watched folder itself."""
        return self.folder.partition("/")[0]


class Version(NamedTuple):
    """Which content a name stands for: another version is another picture."""

    device: int
    inode: int
    mtime_ns: int
    size: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Version":
        return cls(status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)

    @property
    def received_ms(self) -> int:
        """When it was written, unix ms; now, where the clock has been set back since then or was never set."""
        now = int(time.time() * 1000)
        written = self.mtime_ns // 1_000_000
        return written if 0 < written < now else now


def is_picture(name: str) -> bool:
    """By its name. What begins with a dot is not finished yet: that is what rsync and others call their files."""
    return name.lower().endswith(_ENDINGS) and not name.startswith(".")


def subfolders(root: str, folder: str) -> list[str]:
    """Those of one folder in which pictures may lie, by their paths below root, the last by name first: of folders
    that are called by the date, the newest. Raises OSError where the folder cannot be read."""
    with _opened(root, folder) as descriptor, os.scandir(descriptor) as entries:
        names = [
            entry.name for entry in entries if entry.is_dir(follow_symlinks=False) and not is_of_system(entry.name)
        ]
    if not folder:
        return sorted({*names} - {DONE, BAD}, reverse=True)
    return [f"{folder}/{name}" for name in sorted(names, reverse=True)]


def folder_version(root: str, folder: str) -> "Version":
    """It changes whenever a name comes or goes there. Raises OSError."""
    with _opened(root, folder) as descriptor:
        return Version.of(os.fstat(descriptor))


def remove_empty(root: str, folder: str) -> None:
    """Remove a folder, and those above it that are empty then, but never a camera's own. What is not empty stays."""
    while "/" in folder:
        folder, _, name = folder.rpartition("/")
        try:
            with _opened(root, folder) as descriptor:
                os.rmdir(name, dir_fd=descriptor)
        except OSError:  # somebody has put something there, or has removed it, or we may not
            return


def pictures(root: str, folder: str) -> Iterator[tuple[Place, Version]]:
    """What lies in one folder. Raises OSError where the folder cannot be read."""
    with _opened(root, folder) as descriptor, os.scandir(descriptor) as entries:
        for entry in entries:
            if is_picture(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):  # gone since
                    yield Place(folder, entry.name), Version.of(entry.stat(follow_symlinks=False))


class PictureFile:
    """One picture, from reading it to putting it away, within one block. Each method raises OSError."""

    def __init__(self, root: str, place: Place) -> None:
        self._root = root
        self._place = place
        self._stack = ExitStack()

    def __enter__(self) -> "PictureFile":
        self._folder = self._stack.enter_context(_opened(self._root, self._place.folder))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def version(self) -> Version:
        """Raises FileNotFoundError where no regular file has that name."""
        status = os.stat(self._place.name, dir_fd=self._folder, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(f"{self._place.name!r} is no regular file")
        return Version.of(status)

    def read(self, max_bytes: int) -> bytes:
        """The content, and at most one byte more than max_bytes of it."""
        self.version()
        with io.BufferedReader(open_regular(self._place.name, flags=os.O_NOFOLLOW, dir_fd=self._folder)) as file:
            return file.read(max_bytes + 1)

    def delete(self) -> None:
        os.unlink(self._place.name, dir_fd=self._folder)

    def move(self, into: str) -> None:
        """Into DONE or BAD, and there into the same folders. What has the same name there is not replaced."""
        version = self.version()
        with _made(self._root, into, self._place.folder) as target:
            name = self._place.name
            with suppress(FileNotFoundError):
                os.stat(name, dir_fd=target, follow_symlinks=False)
                name = _numbered(name, version.mtime_ns)
            os.rename(self._place.name, name, src_dir_fd=self._folder, dst_dir_fd=target)

    def put_with_bad(self) -> None:
        """Into BAD; deleted, where enough of its camera lie there already."""
        with _made(self._root, BAD, self._place.camera) as camera:
            kept = sum(1 for _ in islice(_files(camera, deep=bool(self._place.camera)), KEEP_BAD))
        if kept == KEEP_BAD:
            self.delete()
        else:
            self.move(BAD)


@contextmanager
def _opened(root: str, *folders: str) -> Iterator[int]:
    """A descriptor of a folder below root, by the names or paths that lead there; empty ones are passed over."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    descriptor = os.open(root, flags)  # the root itself may be a link: the configuration said so
    try:
        for folder in _names(folders):
            below = os.open(folder, flags | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _made(root: str, *folders: str) -> Iterator[int]:
    """The same, and what is missing is made."""
    names = _names(folders)
    for depth, name in enumerate(names):
        with _opened(root, *names[:depth]) as descriptor, suppress(FileExistsError):
            os.mkdir(name, dir_fd=descriptor)
    with _opened(root, *names) as descriptor:
        yield descriptor


def _names(folders: Iterable[str]) -> list[str]:
    return [name for folder in folders for name in folder.split("/") if name]


def _files(descriptor: int, *, deep: bool) -> Iterator[str]:
    """The names of the files in a folder, and of those below it where it is to be deep."""
    for _, folders, names, _ in os.fwalk(".", dir_fd=descriptor):
        yield from names
        if not deep:
            folders.clear()


def _numbered(name: str, number: int) -> str:
    path = PurePath(name)
    ending = os.fsencode(f"-{number}{path.suffix}")
    return os.fsdecode(os.fsencode(path.stem)[: MAX_NAME_BYTES - len(ending)] + ending)
