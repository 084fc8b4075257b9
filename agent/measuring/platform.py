"""What kind of machine this is."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from agent.vision.backbone import FAMILY

_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def describe() -> dict[str, Any]:
    """Machine, operating system and libraries, fit for JSON."""
    return {
        "machine": platform.machine(),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": blas(),
        "blas_threads": blas_threads(),
        "runtime": FAMILY,
        "runtime_version": runtime_version(),
        "load": os.getloadavg()[0],  # over the last minute: what else was going on
    }


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name; on ARM, where the kernel gives none, that of the board."""
    try:
        lines = [line.partition(":") for line in cpuinfo.read_text("utf-8", "replace").splitlines()]
    except OSError:
        return platform.processor() or "unknown"
    named = {key.strip().lower(): value.strip() for key, _, value in lines}
    return next((named[key] for key in ("model name", "hardware", "model") if named.get(key)), "unknown")


def blas() -> str:
    """The linear algebra that numpy was built with, such as "openblas 0.3.21"."""
    try:
        built: Any = np.show_config(mode="dicts")  # type: ignore[call-overload,unused-ignore]
        found = built["Build Dependencies"]["blas"]
        return f"{found['name']} {found['version']}"
    except TypeError:  # before numpy 1.25
        infos = (getattr(np.__config__, name, {}) for name in ("blas_opt_info", "blas_ilp64_opt_info"))
        return next((" ".join(info["libraries"]) for info in infos if info.get("libraries")), "unknown")
    except (KeyError, AttributeError):
        return "unknown"


def blas_threads() -> int | None:
    """What the environment allows it; None where it may take every core."""
    return next((int(os.environ[name]) for name in _BLAS_THREADS if os.environ.get(name, "").isdecimal()), None)


def runtime_version() -> str:
    try:
        return version(FAMILY.replace("_", "-"))
    except PackageNotFoundError:
        return "unknown"


def file_system(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Where a folder lies, such as "ext4 on /dev/mmcblk0p2"."""
    try:
        entries = [line.split() for line in mounts.read_text("utf-8", "replace").splitlines()]
    except OSError:
        return "unknown"
    folder = folder.resolve()
    above = [entry for entry in entries if len(entry) > 2 and folder.is_relative_to(entry[1])]
    if not above:
        return "unknown"
    device, _, kind = max(reversed(above), key=lambda entry: len(entry[1]))[:3]  # the last one hides those before it
    return f"{kind} on {device}"
