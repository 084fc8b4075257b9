"""What the board itself feels: heat, memory. The only place that imports psutil."""

import os
from pathlib import Path

import psutil

NICENESS = 10
EXPENDABLE = 500  # of 1000: as if it took half of the memory more than it does
# The lowest of the ordinary ones. Not the idle class: who holds the file system's journal and is never let to the
# flash keeps everyone waiting who syncs.
_LOWEST_IO = (psutil.IOPRIO_CLASS_BE, 7)


def temperature_c() -> float | None:
    """That of the hottest sensor in degrees Celsius; None where there is none."""
    try:
        sensors = psutil.sensors_temperatures()
    except (AttributeError, OSError, ValueError):
        return None
    # 0 and 127 are what sensors say that are not connected.
    readings = [sensor.current for group in sensors.values() for sensor in group if 0 < sensor.current < 127]
    return max(readings, default=None)


def free_bytes() -> int | None:
    """Memory that can be had without swapping; None where the kernel does not tell."""
    try:
        return int(psutil.virtual_memory().available)
    except (OSError, ValueError, KeyError):
        return None


def lower_priority(pid: int) -> None:
    """Let everyone else go first, on the processor and on flash, and let it go first where memory runs out.

    A process that has ended is none to lower.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
        psutil.Process(pid).ionice(*_LOWEST_IO)
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(EXPENDABLE))
    except (OSError, psutil.Error):
        pass
