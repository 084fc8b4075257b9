"""What the board itself feels: heat, memory, load, what is written to its flash. The only place that imports psutil."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from agent.reporting.faults import Faults

NICENESS = 10
EXPENDABLE = 500  # of 1000: as if it took half of the memory more than it does
# The lowest of the ordinary ones. Not the idle class: who holds the file system's journal and is never let to the
# flash keeps everyone waiting who syncs.
_LOWEST_IO = (psutil.IOPRIO_CLASS_BE, 7)
_SYS = Path("/sys")
_RASPBERRY = Path("devices/platform/soc/soc:firmware/get_throttled")
_RASPBERRY_NOW = 0b1111  # under-voltage, frequency capped, throttled, near the limit of heat; higher bits: once
_SECTOR_BYTES = 512  # of the kernel's statistics, whatever the medium's are
# What psutil raises where a kernel or a sandbox does not tell, or tells something else than psutil expects.
_UNTOLD = (AttributeError, LookupError, OSError, RuntimeError, ValueError, psutil.Error)


def temperature_c() -> float | None:
    """That of the hottest sensor in degrees Celsius; None where there is none."""
    with contextlib.suppress(*_UNTOLD):
        return _hottest_c()
    return None


def free_bytes() -> int | None:
    """Memory that can be had without swapping; None where the kernel does not tell."""
    with contextlib.suppress(*_UNTOLD):
        return _available_bytes()
    return None


def _hottest_c() -> float | None:
    # 0 and 127 are what sensors say that are not connected.
    sensors = psutil.sensors_temperatures().values()
    return max((sensor.current for group in sensors for sensor in group if 0 < sensor.current < 127), default=None)


def _available_bytes() -> int:
    return int(psutil.virtual_memory().available)


class Host:
    """The figures of this board, and of this process. `folder` lies on the flash whose writes are told.

    For one thread: the load is that since the call before.
    """

    def __init__(self, folder: Path, sys: Path = _SYS) -> None:
        self._folder = folder
        self._sys = sys
        self._started = time.monotonic()
        self._faults = Faults()
        self._figures: dict[str, Callable[[], Any]] = {
            "cpu_percent": lambda: float(psutil.cpu_percent()),
            "cpu_mhz": self._frequency_mhz,
            "memory_total_bytes": lambda: int(psutil.virtual_memory().total),
            "memory_free_bytes": _available_bytes,
            "rss_bytes": lambda: int(psutil.Process().memory_info().rss),
            "temperature_c": _hottest_c,
            "throttled": self.throttled,
            "flash_free_bytes": self._flash_free_bytes,
            "flash_written_bytes": self._flash_written_bytes,
            "uptime_s": lambda: round(time.monotonic() - self._started, 3),
        }
        self._faults.attempt("cpu_percent", psutil.cpu_percent)

    def figures(self) -> dict[str, Any]:
        """What a board does not tell is null, and so is what cannot be read; the latter is logged."""
        return {name: self._faults.attempt(name, read) for name, read in self._figures.items()}

    def throttled(self) -> bool | None:
        """Whether the processor is slowed down just now, for heat or for want of current."""
        raspberry = _number(self._sys / _RASPBERRY, 16)
        if raspberry is not None:
            return bool(raspberry & _RASPBERRY_NOW)
        cooling = [
            _number(device / "cur_state")
            for device in (self._sys / "class/thermal").glob("cooling_device*")
            if _text(device / "type").lower().startswith(("cpu", "thermal-cpu", "processor"))
        ]
        known = [state for state in cooling if state is not None]
        return any(known) if known else None

    def _frequency_mhz(self) -> float | None:
        """That of the fastest core."""
        paths = (self._sys / "devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
        khz = [frequency for frequency in map(_number, paths) if frequency is not None]
        return max(khz) / 1000 if khz else None

    def _flash_free_bytes(self) -> int | None:
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return None
        return disk.f_bavail * disk.f_frsize

    def _flash_written_bytes(self) -> int | None:
        """By everyone, since the board started, to the device that the folder lies on."""
        try:
            device = self._folder.stat().st_dev
        except OSError:
            return None
        statistics = _text(self._sys / f"dev/block/{os.major(device)}:{os.minor(device)}/stat").split()
        return int(statistics[6]) * _SECTOR_BYTES if len(statistics) > 6 and statistics[6].isdecimal() else None


def _text(path: Path) -> str:
    """ "" where there is no such file."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip()
    return ""


def _number(path: Path, base: int = 10) -> int | None:
    with contextlib.suppress(ValueError):
        return int(_text(path), base)
    return None


def written_bytes() -> int:
    """What this process has made the kernel write to a device; 0 where the kernel does not say."""
    try:
        return int(psutil.Process().io_counters().write_bytes)
    except _UNTOLD:  # of kernels that do not count
        return 0


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
