"""The machine, and what is installed on it. Each check looks at one thing, and is told where it finds it."""

import platform
import re
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from agent.doctor.checks import Check

OLDEST_PYTHON = (3, 10)
# As in setup.cfg: the oldest that do, and what Debian calls them.
LIBRARIES: Mapping[str, tuple[str, str]] = {
    "numpy": ("1.24", "apt install python3-numpy"),
    "pillow": ("9.4", "apt install python3-pil"),
    "psutil": ("5.9", "apt install python3-psutil"),
    "pyyaml": ("6.0", "apt install python3-yaml"),
    "tqdm": ("4.64", "apt install python3-tqdm"),
    "h11": ("0.14", "apt install python3-h11"),
    "paho-mqtt": ("2.1", "pip install 'paho-mqtt>=2.1,<3' (Debian 12 has 1.6)"),
}
TFLITE, LITERT = "tflite-runtime", "ai-edge-litert"
GLIBC: Mapping[str, str] = {TFLITE: "2.34", LITERT: "2.27"}  # by the tags of their wheels
RELEASED = 2026  # a clock that shows an earlier year was never set
ARM_32 = ("armv7l", "armv8l")


def machine() -> list[Check]:
    """All checks of this machine."""
    installed = {name: _version(name) for name in (*LIBRARIES, TFLITE, LITERT)}
    return [
        python(sys.version_info[:3]),
        libraries(installed),
        runtime(installed, _architecture(), sys.version_info[:2]),
        cpu(_architecture()),
        glibc(installed, platform.libc_ver()),
        memory(),
        clock(time.time()),
    ]


def python(found: tuple[int, ...]) -> Check:
    text = ".".join(map(str, found))
    if found[:2] < OLDEST_PYTHON:
        return Check("python", "fail", text, "install Python 3.10 or newer; Debian 12 has 3.11")
    return Check("python", "ok", text)


def libraries(installed: Mapping[str, str | None]) -> Check:
    found = ", ".join(f"{name} {installed[name] or 'missing'}" for name in LIBRARIES)
    wrong = [name for name, (oldest, _) in LIBRARIES.items() if _numbers(installed[name] or "0") < _numbers(oldest)]
    advice = "; ".join(f"{name} {LIBRARIES[name][0]} or newer: {LIBRARIES[name][1]}" for name in wrong)
    return Check("libraries", "fail" if wrong else "ok", found, advice)


def runtime(installed: Mapping[str, str | None], architecture: str, python: tuple[int, ...]) -> Check:
    """The TFLite runtime, and whether it gets on with this NumPy."""
    numpy, tflite, litert = installed["numpy"], installed[TFLITE], installed[LITERT]
    if litert is not None:  # the one that is taken where both are there
        return Check("runtime", "ok", f"{LITERT} {litert}")
    if tflite is None:
        return Check("runtime", "fail", "no TFLite runtime", _which_runtime(architecture, python))
    found = f"{TFLITE} {tflite} with numpy {numpy}"
    if _numbers(numpy or "0") >= (2,):
        return Check("runtime", "fail", f"{found}, which breaks it", "pip install 'numpy<2', or take Debian 12's")
    if architecture == "x86_64":
        return Check(
            "runtime",
            "warn",
            f"{found}, 43 times slower on x86-64",
            f"pip install '{LITERT}>=2.1,<3' and remove {TFLITE}",
        )
    return Check("runtime", "ok", found)


def _which_runtime(architecture: str, python: tuple[int, ...]) -> str:
    if architecture == "x86_64":
        return f"pip install '{LITERT}>=2.1,<3'"
    if python < (3, 12):
        return f"pip install {TFLITE}==2.14.0 'numpy<2'"
    if architecture == "aarch64":
        return f"pip install {LITERT}==1.4.0"
    return f"take Python 3.11, as Debian 12 has it: there is no runtime of 32-bit ARM for {'.'.join(map(str, python))}"


def cpu(architecture: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> Check:
    """Whether it has the instructions that the wheels are built with; without them they end with SIGILL."""
    if architecture.startswith(("armv4", "armv5", "armv6")):
        return Check("cpu", "fail", architecture, "there is no TFLite runtime for it: take a board with ARMv7 or newer")
    if architecture not in ARM_32:
        return Check("cpu", "ok", architecture)
    try:
        lines = cpuinfo.read_text("utf-8", "replace").splitlines()
    except OSError as error:
        return Check("cpu", "warn", f"{architecture}, {cpuinfo} cannot be read: {error.strerror}")
    features = {
        word for line in lines if line.lower().startswith("features") for word in line.partition(":")[2].split()
    }
    # A 64-bit kernel under a 32-bit system may name the same by another word.
    lacking = [] if "asimd" in features else [name for name in ("neon", "vfpv4") if name not in features]
    if lacking:
        advice = "the TFLite runtime needs both (Cortex-A7, A15, A53 and newer): take another board"
        return Check("cpu", "fail", f"{architecture} without {' and '.join(lacking)}", advice)
    return Check("cpu", "ok", f"{architecture} with NEON and VFPv4")


def glibc(installed: Mapping[str, str | None], library: tuple[str, str]) -> Check:
    name, found = library
    if name != "glibc":
        return Check("glibc", "fail", name or "another C library", "take Debian 12 or another system with glibc 2.34")
    least = GLIBC[LITERT if installed[LITERT] is not None else TFLITE]
    if _numbers(found) < _numbers(least):
        return Check("glibc", "fail", found, f"the TFLite runtime needs {least} or newer: take Debian 12")
    return Check("glibc", "ok", found)


def memory(cgroup: Path = Path("/sys/fs/cgroup"), cmdline: Path = Path("/proc/cmdline")) -> Check:
    """Whether MemoryMax of the unit has an effect."""
    try:
        unified = "memory" in (cgroup / "cgroup.controllers").read_text().split()
    except OSError:
        unified = False
    if unified or (cgroup / "memory").is_dir():
        return Check("memory", "ok", "the kernel can limit the memory of a service")
    file = "/boot/firmware/cmdline.txt" if Path("/boot/firmware/cmdline.txt").exists() else "the kernel's command line"
    try:
        disabled = ": cgroup_disable=memory" if "cgroup_disable=memory" in cmdline.read_text() else ""
    except OSError:
        disabled = ""
    return Check(
        "memory",
        "warn",
        f"MemoryMax has no effect, the memory controller is off{disabled}",
        f"add cgroup_enable=memory to {file} and reboot",
    )


def clock(now: float) -> Check:
    """now: unix time in seconds."""
    text = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if time.gmtime(now).tm_year < RELEASED:
        advice = "stamps will be wrong and TLS will fail: timedatectl set-ntp true, or set it with timedatectl set-time"
        return Check("clock", "warn", f"{text}: it was never set", advice)
    return Check("clock", "ok", text)


def _architecture() -> str:
    """That of the running Python: a 64-bit kernel may carry a 32-bit system."""
    found = platform.machine()
    return "armv8l" if found == "aarch64" and sys.maxsize < 2**32 else found


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:3]))
