"""Writing so that a power cut leaves the old or the new, never half of it; reading what somebody else named.

A name leads to anything: a FIFO that nobody writes to, a device without an end, 20 GB that take no room on the disk.
"""

import errno
import io
import os
import stat
import zlib
from pathlib import Path


def open_regular(path: str | os.PathLike[str], *, flags: int = 0, dir_fd: int | None = None) -> io.FileIO:
    """A regular file for reading, unbuffered; `flags` come beside those of reading. It never waits.

    Raises OSError, whose strerror says what is there where it is no regular file.
    """
    flags |= os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY  # whoever opens a FIFO waits for its writer
    try:
        # Looked at before too: there are devices that do something as soon as they are opened.
        _check_regular(os.stat(path, dir_fd=dir_fd, follow_symlinks=not flags & os.O_NOFOLLOW))
        descriptor = os.open(path, flags, dir_fd=dir_fd)
    except ValueError as error:  # a zero byte in the name, or a character that no name has here
        raise _UnusableError(errno.EINVAL, f"no file has such a name: {error}") from error
    try:
        _check_regular(os.fstat(descriptor))
        return io.FileIO(descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def read_bounded(path: str | os.PathLike[str], limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes. Raises OSError, before it has read more than that."""
    with Rationed(open_regular(path), limit) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise _too_large(size, limit)
        return file.read(size) + file.read()  # it may grow meanwhile


def printable(name: str | os.PathLike[str]) -> str:
    """A name in whatever bytes, as text for one line of a terminal or a file: what is not to be seen is escaped."""
    text = os.fspath(name)
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(letter: str) -> str:
    byte = ord(letter) - 0xDC00  # how Python keeps a byte of a name that is no character
    if 0x80 <= byte <= 0xFF:
        return f"\\x{byte:02x}"
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()


_BLOCK = 64 << 10


class Rationed(io.BufferedReader):
    """What a parser reads from when it trusts a length in what it reads.

    However much it asks for in one call of `read`, no more is read or allocated than `ration` bytes in all; beyond
    them `read` raises OSError.
    """

    def __init__(self, raw: io.RawIOBase, ration: int) -> None:
        super().__init__(raw)
        self.ration = ration

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(_BLOCK), b""))
        content = super().read(min(size, self.ration + 1))
        if len(content) > self.ration:
            raise _too_large(None, self.ration)
        self.ration -= len(content)
        return content


class _UnusableError(OSError):
    """One that speaks in words alone."""

    def __str__(self) -> str:
        return str(self.strerror)


def _too_large(size: int | None, limit: int) -> OSError:
    found = "more than that" if size is None else f"{size} bytes"
    return _UnusableError(errno.EFBIG, f"at most {limit} bytes are read here, it has {found}")


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something")
        raise _UnusableError(errno.EINVAL, f"it is {kind}, not a regular file")


def write_atomically(path: Path, *parts: bytes | memoryview) -> None:
    """Replace the file's content by these parts, one behind the other. Raises OSError.

    A temporary file beside it, fsync, rename, fsync of the folder.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a rename is on flash only after this."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checked_line(content: bytes) -> bytes:
    """crc32 of the content in 8 hex digits, a blank, the content, which holds no line feed, and a line feed."""
    return b"%08x %s\n" % (zlib.crc32(content), content)


def checked_content(line: bytes) -> bytes | None:
    """What checked_line was given, from a line without its line feed; None if the line is damaged."""
    checksum, _, content = line.partition(b" ")
    return content if checksum == b"%08x" % zlib.crc32(content) else None
