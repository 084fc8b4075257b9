"""The C library's allocator of memory."""

import ctypes
import logging

log = logging.getLogger(__name__)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE_BYTES = 1 << 20
_KEPT_BYTES = 2 << 20


def give_back_large_blocks() -> None:
    """From now on what is freed of a block of 1 MiB and more goes back to the system at once.

    On 64 bits glibc raises that bound to 32 MiB as blocks are freed, and keeps them, in pieces, for later: a process
    that works with a few large arrays then holds much more than it ever used at once. On 32 bits its bound is
    512 KiB. Other C libraries have no such call.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        log.debug("the C library has no mallopt")
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)  # by itself it would stay at 128 KiB: small blocks would come and go too
