"""The Debian package of this checkout."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

from tests.daemon import ROOT


def package(architecture: str, folder: Path, version: str | None = None) -> Path:
    """The Debian package of these sources; the wheels stay in build/wheels for the next time."""
    words = [architecture, "--out", str(folder), *(["--version", version] if version else [])]
    command = [sys.executable, str(ROOT / "debian" / "build.py"), *words]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}  # whatever is committed meanwhile
    ended = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return Path(ended.stdout.strip())


def placed(stage: Path) -> Path:
    """The package's library as far as it comes from this checkout, below `stage` as it will lie below /."""
    runpy.run_path(str(ROOT / "debian" / "build.py"))["place_sources"](stage)
    return stage / "usr" / "lib" / "lastlayer"


def native() -> str:
    return subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()
