"""A board's Python on this machine, with Debian 12's libraries: 32-bit ARM under an emulator, and i386.

It is a virtual environment whose `bin/python` is a script: it starts the sysroot's Python through what makes it run
here. Python takes the script for itself (`sys.executable`), so a child process is of the board's kind too, with no
root, chroot or binfmt. Made once, below .venv; made again when this folder's recipe changes.
"""

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.board.debian import Packages, UnavailableError, unpack

ROOT = Path(__file__).resolve().parents[2]
BOARDS = ROOT / ".venv" / "boards"
PYTHON = "python3.11"
# As the README has it for a board: apt's versions of these, and from PyPI what apt lacks or has too old.
APT = ("python3", "python3-venv", "python3-numpy", "python3-pil", "python3-psutil", "python3-yaml", "python3-tqdm")
PAHO = "paho-mqtt>=2.1,<3"


@dataclass(frozen=True)
class Kind:
    """What a board is made of. `alone`: packages without what they depend on, which would be a compiler."""

    architecture: str  # Debian's name
    triplet: str
    wheel_tags: tuple[str, ...]
    wheels: tuple[str, ...]
    alone: tuple[str, ...] = ()


ARMV7L = Kind(
    "armhf", "arm-linux-gnueabihf", ("manylinux_2_34_armv7l", "linux_armv7l"), ("tflite-runtime==2.14.0", PAHO)
)
I386 = Kind(
    "i386",
    "i386-linux-gnu",
    ("any",),
    (PAHO, "pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100"),
    # For the tests: a reference to compare with, and its photographs.
    (
        "python3-scipy",
        "liblbfgsb0",
        "python3-sklearn",
        "python3-sklearn-lib",
        "python3-joblib",
        "python3-threadpoolctl",
    ),
)


@dataclass(frozen=True)
class Machine:
    """A board that is ready: its Python, and where modules can be installed."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"

    @property
    def site(self) -> Path:
        return self.folder / "venv" / "lib" / PYTHON / "site-packages"

    def modules(self, names: Sequence[str]) -> dict[str, str]:
        """The versions of modules as they are imported there, and the machine's name as `platform`."""
        program = (
            "import importlib, json, platform, sys\n"
            "found = {name: importlib.import_module(name).__version__ for name in sys.argv[1:]}\n"
            "print(json.dumps({**found, 'platform': platform.machine()}))"
        )
        ended = subprocess.run([self.python, "-c", program, *names], capture_output=True, text=True, check=True)
        found: dict[str, str] = json.loads(ended.stdout)
        return found


def machine(kind: Kind) -> Machine:
    """One that is ready to run. Takes some seconds, and a download, the first time. Raises UnavailableError."""
    folder = BOARDS / kind.architecture
    folder.mkdir(parents=True, exist_ok=True)
    recipe = json.dumps([asdict(kind), APT, str(folder), *(path.read_text() for path in _recipe_files())])
    stamp = folder / "made"
    with _alone(folder / "lock"):
        if not stamp.exists() or stamp.read_text() != recipe:
            stamp.unlink(missing_ok=True)
            _make(kind, folder)
            stamp.write_text(recipe)
    return Machine(folder)


def _recipe_files() -> list[Path]:
    here = Path(__file__).resolve()
    return [here, here.with_name("debian.py")]


def _make(kind: Kind, folder: Path) -> None:
    sysroot, venv = folder / "sysroot", folder / "venv"
    for old in (sysroot, venv):
        shutil.rmtree(old, ignore_errors=True)
    unpack(Packages(folder / "packages", kind.architecture).fetch(APT, kind.alone), sysroot)
    libraries = sysroot / "usr" / "lib" / kind.triplet
    for name in ("blas", "lapack"):  # update-alternatives would, where the packages' scripts ran
        (libraries / f"lib{name}.so.3").symlink_to(f"{name}/lib{name}.so.3")
    site = venv / "lib" / PYTHON / "site-packages"
    _install(kind, site)
    python = venv / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {" ".join(_start(kind, folder, sysroot))} "$@"\n')
    python.chmod(0o755)
    settings = ("include-system-site-packages = true", f"home = {sysroot}/usr/bin", "version = 3.11")
    (venv / "pyvenv.cfg").write_text("\n".join(settings) + "\n")


def _start(kind: Kind, folder: Path, sysroot: Path) -> Iterator[str]:
    """The words that start the sysroot's Python, under the name of the script that they are in."""
    if kind is ARMV7L:
        yield from (str(_emulator(folder)), "-cpu", "cortex-a15", "-L", str(sysroot), "-0", '"$0"')
    else:
        libraries = sysroot / "usr" / "lib" / kind.triplet
        yield from (f"{sysroot}/usr/lib/ld-linux.so.2", "--argv0", '"$0"', "--library-path", str(libraries))
    yield f"{sysroot}/usr/bin/{PYTHON}"


def _emulator(folder: Path) -> Path:
    """qemu's, of a version that does not wrap file offsets beyond 4 GiB, as Debian 12's own does."""
    if sys.platform != "linux" or subprocess.run(["uname", "-m"], capture_output=True, text=True).stdout != "x86_64\n":
        raise UnavailableError("the emulator is fetched for x86-64 Linux only")
    packages = Packages(folder / "emulator", "amd64", "bookworm-backports").fetch([], ["qemu-user"])
    unpack(packages, folder / "emulator", ["./usr/bin/qemu-arm"])
    return folder / "emulator" / "usr" / "bin" / "qemu-arm"


def _install(kind: Kind, site: Path) -> None:
    tags = [word for tag in kind.wheel_tags for word in ("--platform", tag)]
    # Without their dependencies where those are apt's.
    needs = ["--no-deps"] if kind is ARMV7L else []
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(site)]
    command += [*tags, *needs, "--python-version", "3.11", "--only-binary", ":all:", *kind.wheels]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise UnavailableError(f"pip cannot install {', '.join(kind.wheels)}: {ended.stderr.strip().splitlines()[-1]}")


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Two test runs do not make the same board at once."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
