"""Memory that goes back to the system: of the C library's allocator, and of files that are mapped.

What is not glibc has none of the allocator's calls, and is left as it is.
"""

import ctypes
import logging
import time
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 1 << 20
_KEPT_BYTES = 2 << 20
_WORK_S = 0.05
_MADV_DONTNEED = 4


def give_back_large_blocks() -> None:
    """From now on what is freed of a block of 1 MiB and more goes back to the system at once.

    On 64 bits glibc raises that bound to 32 MiB as blocks are freed, and keeps them, in pieces, for later: a process
    that works with a few large arrays then holds much more than it ever used at once. On 32 bits its bound is
    512 KiB.
    """
    _call("mallopt", _M_MMAP_THRESHOLD, _LARGE_BYTES)
    _call("mallopt", _M_TRIM_THRESHOLD, _KEPT_BYTES)  # it would be 128 KiB now: small blocks would come and go too


def share_arenas() -> None:
    """From now on all threads take their smaller blocks from two pools. Each has one of its own otherwise, up to eight
    for a core, and what was freed last stays in each."""
    _call("mallopt", _M_ARENA_MAX, 2)


def give_back_freed() -> None:
    """What was freed so far goes back to the system, also where something that is in use lies behind it."""
    _call("malloc_trim", 0)


class Residue:
    """What is left of smaller blocks, in pieces, in a pool for each thread: it goes back while others wait for work.

    Not for several threads.
    """

    def __init__(self) -> None:
        self._worked_s = time.process_time()

    def give_back(self) -> None:
        """Where this process has worked for more than 50 ms since it was done last; takes about one, then."""
        if time.process_time() > self._worked_s + _WORK_S:
            give_back_freed()
            self._worked_s = time.process_time()


def _call(name: str, *arguments: int) -> None:
    try:
        function: Any = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        log.debug("the C library has no %s", name)
        return
    function(*arguments)


def forget_pages(path: Path) -> None:
    """Give back what the mapped pages of a file take that nobody writes; what is read again comes from the file again.

    A TFLite runtime copies the weights as its kernels want them, and holds on to the pages of the file that it copied.
    """
    try:
        name, maps = str(path.resolve()), Path("/proc/self/maps").read_text(errors="surrogateescape")
        advise: Any = ctypes.CDLL(None, use_errno=True).madvise
    except (OSError, AttributeError) as error:
        log.debug("the pages of %s are kept: %s", path, error)
        return
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)  # addresses, permissions, offset, device, inode; the file, if it is one
        if len(fields) == 6 and fields[5] == name and "w" not in fields[1]:
            first, last = (int(end, 16) for end in fields[0].split("-"))
            advise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), _MADV_DONTNEED)
