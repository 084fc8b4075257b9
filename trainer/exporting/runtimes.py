"""The two families of TFLite runtimes, each as a Python that has it.

One is installed beside the trainer; the other gets an environment of its own in the cache folder, made once with venv
and pip where there is a Python that has a wheel of it.
"""

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.board.child import Child
from agent.errors import BundleError, ChildError, ConfigError
from agent.vision.backbone import FAMILY

# What pip installs. tflite-runtime allows NumPy 2, which breaks it.
REQUIREMENTS = {
    "ai_edge_litert": ("ai-edge-litert>=2.1,<3", "numpy>=1.24"),
    "tflite_runtime": ("tflite-runtime==2.14.0", "numpy<2"),
}
LOOK_TIMEOUT_S = 20.0
INSTALL_TIMEOUT_S = 300.0
INVOKE_TIMEOUT_S = 600.0
_WHEELS = {"ai_edge_litert": ("3.13", "3.12", "3.11", "3.10"), "tflite_runtime": ("3.11", "3.10")}


@dataclass(frozen=True)
class Answer:
    """What a runtime said of N pictures."""

    family: str
    bottlenecks: NDArray[np.float32]  # [N, D], real values
    stored: NDArray[np.generic]  # [N, D], as the backbone gives them
    invoke_ms: float  # the median


def python_with(family: str) -> Path:
    """A Python that has this runtime. Raises ConfigError, which says why there is none."""
    if family == FAMILY:
        return Path(sys.executable)
    interpreter, version = _interpreter(family)
    folder = _cache() / f"{family}-python{version}"
    python = folder / "bin" / "python"
    if not python.exists():
        _make_environment(interpreter, folder, REQUIREMENTS[family])
    return python


def ask(family: str, bundle: Path, images: NDArray[np.uint8]) -> Answer:
    """Runs a bundle on images [N, H, W, 3] in a child process.

    Raises ConfigError where the runtime is not to be had, BundleError where it cannot use the bundle.
    """
    python = python_with(family)
    with tempfile.TemporaryDirectory() as scratch:
        source, answer = Path(scratch) / "images.npy", Path(scratch) / "answer.npz"
        np.save(source, images)
        command = [str(python), "-m", "trainer.exporting.invoking", str(bundle), str(source), str(answer)]
        try:
            ended = Child(command).wait(INVOKE_TIMEOUT_S)
        except TimeoutError:
            raise BundleError(f"{family} took more than {INVOKE_TIMEOUT_S:g} s for {len(images)} pictures") from None
        if ended.code:
            crashed = f"crashed (signal {-ended.code}): " if ended.code < 0 else ""
            raise BundleError(f"{family} cannot use the model: {crashed}{ended.last_words or 'no reason was given'}")
        with np.load(answer) as said:
            stored, scale, zero_point = said["bottlenecks"], float(said["scale"]), int(said["zero_point"])
            real = (stored.astype(np.float32) - zero_point) * np.float32(scale)
            return Answer(str(said["family"]), real, stored, float(np.median(said["invoke_ms"])))


def _interpreter(family: str) -> tuple[str, str]:
    """A Python that has a wheel of this runtime, and its version."""
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for version in sorted(_WHEELS[family], key=lambda version: version != own):
        path = sys.executable if version == own else shutil.which(f"python{version}")
        if path is not None and (path == sys.executable or _is_version(path, version)):
            return path, version
    raise ConfigError(f"no Python {' or '.join(_WHEELS[family])} was found, and {family} has wheels for no other")


def _is_version(path: str, version: str) -> bool:
    program = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    try:
        return Child([path, "-c", program], os.environ).wait(LOOK_TIMEOUT_S).stdout.strip() == version
    except (ChildError, TimeoutError):
        return False


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base if base else Path.home() / ".cache") / "lastlayer" / "runtimes"


def _make_environment(interpreter: str, folder: Path, requirements: tuple[str, ...]) -> None:
    """Whole or not at all: it is made under another name."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise ConfigError(f"{folder.parent} cannot be written: {error.strerror}") from error
    try:
        _run([interpreter, "-m", "venv", str(partial)])
        pip = [str(partial / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--no-cache-dir", *requirements])
        partial.rename(folder)
    except OSError as error:
        if not (folder / "bin" / "python").exists():  # another process was faster
            raise ConfigError(f"{folder} cannot be made: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _run(command: list[str]) -> None:
    try:
        ended = Child(command, os.environ).wait(INSTALL_TIMEOUT_S)
    except TimeoutError:
        raise ConfigError(f"{' '.join(command[1:4])} took more than {INSTALL_TIMEOUT_S:g} s") from None
    if ended.code:
        raise ConfigError(f"{' '.join(command[1:4])} failed: {ended.last_words[:300] or 'no reason was given'}")
