"""Pictures in a watched folder: found, read, and put away.

Others may write there. So nothing is followed out of it: folders and files are opened
relative to each other, symbolic links are not followed, and what is no regular file
is not opened. Names are any bytes, as os.fsdecode gives them.
"""

import io
import os
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import PurePath
from typing import NamedTuple

from agent.board.files import open_regular

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
DONE, BAD = "done", "bad"  # subfolders of the watched folder, for what was dealt with
KEEP_BAD = 100  # where pictures are deleted, so many bad ones are kept to be looked at
MAX_NAME_BYTES = 255


class Place(NamedTuple):
    """Where a picture lies."""

    folder: str  # the name of a subfolder; "" for the watched folder itself
    name: str


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
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def subfolders(root: str) -> list[str]:
    """Those that are cameras. Raises OSError."""
    with os.scandir(root) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return sorted(name for name in names if name not in (DONE, BAD) and not name.startswith("."))


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
        """Into DONE or BAD, and there into a folder of its camera. What has the same name there is not replaced."""
        version = self.version()
        with _made(self._root, into, self._place.folder) as target:
            name = self._place.name
            with suppress(FileNotFoundError):
                os.stat(name, dir_fd=target, follow_symlinks=False)
                name = _numbered(name, version.mtime_ns)
            os.rename(self._place.name, name, src_dir_fd=self._folder, dst_dir_fd=target)

    def put_with_bad(self) -> None:
        """Into BAD; deleted, where enough lie there already."""
        with _made(self._root, BAD, self._place.folder) as target, os.scandir(target) as entries:
            full = sum(1 for _ in entries) >= KEEP_BAD
        if full:
            self.delete()
        else:
            self.move(BAD)


@contextmanager
def _opened(root: str, *folders: str) -> Iterator[int]:
    """A descriptor of a folder below root; empty names are passed over."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    descriptor = os.open(root, flags)  # the root itself may be a link: the configuration said so
    try:
        for folder in filter(None, folders):
            below = os.open(folder, flags | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _made(root: str, *folders: str) -> Iterator[int]:
    """The same, and what is missing is made."""
    names = [folder for folder in folders if folder]
    for depth, name in enumerate(names):
        with _opened(root, *names[:depth]) as descriptor, suppress(FileExistsError):
            os.mkdir(name, dir_fd=descriptor)
    with _opened(root, *names) as descriptor:
        yield descriptor


def _numbered(name: str, number: int) -> str:
    path = PurePath(name)
    ending = os.fsencode(f"-{number}{path.suffix}")
    return os.fsdecode(os.fsencode(path.stem)[: MAX_NAME_BYTES - len(ending)] + ending)
