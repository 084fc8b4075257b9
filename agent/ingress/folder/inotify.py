"""Linux inotify: being told that a file was closed after writing, or was moved into a folder.

Three system calls by ctypes: the packages for it are no smaller than this module.
"""

import ctypes
import os
import select
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

CLOSE_WRITE = 0x00000008
MOVED_TO = 0x00000080
CREATE = 0x00000100
DELETE_SELF = 0x00000400
MOVE_SELF = 0x00000800
UNMOUNT = 0x00002000
Q_OVERFLOW = 0x00004000  # events were lost: wd is -1
IGNORED = 0x00008000  # the watch is gone
ONLYDIR = 0x01000000
DONT_FOLLOW = 0x02000000  # a link
ISDIR = 0x40000000

_EVENT = struct.Struct("iIII")  # wd, mask, cookie, length of the name with its padding
_BUFFER_BYTES = 1 << 16


class Event(NamedTuple):
    wd: int
    mask: int
    name: str  # of the file, as os.fsdecode gives it; "" where the event is of the folder itself


class Inotify:
    """What happens in folders, until it is closed. Of one thread.

    Raises OSError where the kernel gives no instance: their number is limited, and it may have been built without.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._call("inotify_init1", os.O_CLOEXEC | os.O_NONBLOCK)

    def fileno(self) -> int:
        return self._fd

    def add(self, folder: str, mask: int) -> int:
        """Watch a folder; its watch, the same one where it is watched already. Raises OSError."""
        return self._call("inotify_add_watch", self._fd, os.fsencode(folder), ctypes.c_uint32(mask | ONLYDIR))

    def remove(self, wd: int) -> None:
        """Raises OSError where the kernel has removed it already."""
        self._call("inotify_rm_watch", self._fd, wd)

    def events(self) -> list[Event]:
        """Those that have happened, at most one buffer of them; the rest waits in the kernel's bounded queue."""
        try:
            return list(_parsed(os.read(self._fd, _BUFFER_BYTES)))
        except BlockingIOError:
            return []

    def close(self) -> None:
        os.close(self._fd)

    def _call(self, name: str, *arguments: Any) -> int:
        result: int = getattr(self._libc, name)(*arguments)
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result


class Wake:
    """Waiting that another thread can end. `set` stays set."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def set(self) -> None:
        os.eventfd_write(self._fd, 1)

    def wait(self, timeout: float, inotify: Inotify | None = None) -> bool:
        """Until it is set, `inotify` has events, or `timeout` seconds are over; whether it is set."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if inotify is not None:
            poll.register(inotify, select.POLLIN)
        return any(fd == self._fd for fd, _ in poll.poll(max(0.0, timeout) * 1000))


def _parsed(buffer: bytes) -> Iterator[Event]:
    offset = 0
    while offset < len(buffer):
        wd, mask, _, length = _EVENT.unpack_from(buffer, offset)
        offset += _EVENT.size
        yield Event(wd, mask, os.fsdecode(buffer[offset : offset + length].rstrip(b"\0")))
        offset += length
