"""What a process of ours may take at most: one that opens what somebody sent bounds itself before it does."""

import ctypes
import os
import resource
import signal
from contextlib import suppress
from pathlib import Path

ROOM_BYTES = 128 << 20  # beside what it has when it begins: a head is judged in half of it
COPIES = 4  # of what was sent: as it came, a part of it, as arrays, and once more where a runtime packs it anew

_PR_SET_PDEATHSIG = 1


def limit_memory(sent_bytes: int) -> None:
    """From now on this process gets room to open so many bytes, and MemoryError beyond it.

    What counts is the memory of its own (RLIMIT_DATA), not the libraries and files that are mapped into it: so the
    bound is the same on 32 bits, where it must fit into an address space of 2 GB, and on 64. It is never raised.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[5])
    except OSError:
        return  # no Linux: a desktop, where the trainer looks at models of its own
    wanted = pages * os.sysconf("SC_PAGE_SIZE") + ROOM_BYTES + COPIES * sent_bytes
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft == resource.RLIM_INFINITY or wanted < soft:
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def end_with_parent() -> None:
    """This process is killed when the thread that started it ends, so that it outlives nobody who would end it."""
    with suppress(AttributeError):  # no Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
