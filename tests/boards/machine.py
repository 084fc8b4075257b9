"""A board's Python on this machine, with Debian 12's libraries: 32-bit ARM under an emulator, and i386.

It is a folder of Debian's packages, a sysroot, in which `usr/bin/python3` is a script: it starts the sysroot's own
Python through what makes it run here. Python takes the script for itself (`sys.executable`), so a child process is of
the board's kind too, with no root, chroot or binfmt. Made once, below .venv; made again when its recipe changes.
"""

import fcntl
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.boards.debian import Packages, UnavailableError, unpack

ROOT = Path(__file__).resolve().parents[2]
BOARDS = ROOT / ".venv" / "boards"
PYTHON = "python3.11"
# What the package of Lastlayer depends on; a test compares them.
APT = ("python3", "python3-numpy", "python3-pil", "python3-psutil", "python3-yaml", "python3-tqdm", "python3-h11")


@dataclass(frozen=True)
class Kind:
    """What a board is made of.

    `alone`: packages without what they depend on, which would be a compiler. `wheels`: from PyPI, in Python alone.
    """

    architecture: str  # Debian's name
    triplet: str
    alone: tuple[str, ...] = ()
    wheels: tuple[str, ...] = ()


ARMV7L = Kind("armhf", "arm-linux-gnueabihf")
I386 = Kind(
    "i386",
    "i386-linux-gnu",
    # For the tests: a reference to compare with, and its photographs.
    (
        "python3-scipy",
        "liblbfgsb0",
        "python3-sklearn",
        "python3-sklearn-lib",
        "python3-joblib",
        "python3-threadpoolctl",
        "python3-prometheus-client",
        "python3-jsonschema",
        "python3-attr",
        "python3-pyrsistent",
        "python3-decorator",
    ),
    ("paho-mqtt>=2.1,<3", "multipart>=1.2,<2", "pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100"),
)


@dataclass(frozen=True)
class Machine:
    """A board that is ready: its files lie in `root` as on a board in /."""

    root: Path

    @property
    def python(self) -> Path:
        return self.root / "usr" / "bin" / "python3"

    @property
    def site(self) -> Path:
        """Where pip would install modules."""
        return self.root / "usr" / "local" / "lib" / PYTHON / "dist-packages"


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
    return Machine(folder / "sysroot")


def _recipe_files() -> list[Path]:
    here = Path(__file__).resolve()
    return [here, here.with_name("debian.py")]


def _make(kind: Kind, folder: Path) -> None:
    board = Machine(folder / "sysroot")
    shutil.rmtree(board.root, ignore_errors=True)
    unpack(Packages(folder / "packages", kind.architecture).fetch(APT, kind.alone), board.root)
    libraries = board.root / "usr" / "lib" / kind.triplet
    for name in ("blas", "lapack"):  # update-alternatives would, where the packages' scripts ran
        (libraries / f"lib{name}.so.3").symlink_to(f"{name}/lib{name}.so.3")
    if kind.wheels:
        _install(kind.wheels, board.site)
    board.python.unlink()
    board.python.write_text(f'#!/bin/sh\nexec {" ".join(_start(kind, folder, board.root))} "$@"\n')
    board.python.chmod(0o755)


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
    if platform.machine() != "x86_64":
        raise UnavailableError("the emulator is fetched for x86-64 only")
    packages = Packages(folder / "emulator", "amd64", "bookworm-backports").fetch([], ["qemu-user"])
    unpack(packages, folder / "emulator", ["./usr/bin/qemu-arm"])
    return folder / "emulator" / "usr" / "bin" / "qemu-arm"


def _install(wheels: Sequence[str], site: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(site)]
    command += ["--platform", "any", "--python-version", "3.11", "--only-binary", ":all:", *wheels]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise UnavailableError(f"pip cannot install {', '.join(wheels)}: {ended.stderr.strip().splitlines()[-1]}")


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Two test runs do not make the same board at once."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
