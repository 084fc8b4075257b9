"""Writing to flash so that a power cut leaves the old or the new, never half of it."""

import os
import zlib
from pathlib import Path


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
