"""Files that are mapped into the memory of this process."""

import ctypes
import logging
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_MADV_DONTNEED = 4


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
