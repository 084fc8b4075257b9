"""What the board itself feels: heat, memory. The only place that imports psutil."""

import os

import psutil

NICENESS = 10
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
    """Let everyone else go first, on the processor and on flash. A process that has ended is none to lower."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
        psutil.Process(pid).ionice(*_LOWEST_IO)
    except (OSError, psutil.Error):
        pass
