"""The C library's allocator of memory. What is not glibc has none of these calls, and is left as it is."""

import ctypes
import logging
from typing import Any

log = logging.getLogger(__name__)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE_BYTES = 1 << 20
_KEPT_BYTES = 2 << 20


def give_back_large_blocks() -> None:
    """From now on what is freed of a block of 1 MiB and more goes back to the system at once.

    On 64 bits glibc raises that bound to 32 MiB as blocks are freed, and keeps them, in pieces, for later: a process
    that works with a few large arrays then holds much more than it ever used at once. On 32 bits its bound is
    512 KiB.
    """
    _call("mallopt", _M_MMAP_THRESHOLD, _LARGE_BYTES)
    _call("mallopt", _M_TRIM_THRESHOLD, _KEPT_BYTES)  # it would be 128 KiB now: small blocks would come and go too


def give_back_freed() -> None:
    """What was freed so far goes back to the system, also where something that is in use lies behind it."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    try:
        function: Any = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        log.debug("the C library has no %s", name)
        return
    function(*arguments)
