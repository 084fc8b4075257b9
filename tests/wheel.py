"""What a wheel of this checkout holds, laid out in a folder: the package as it is installed."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.daemon import ROOT


def install(site: Path, workshop: Path) -> None:
    """Into the folder `site`, without its dependencies. `workshop` is an empty folder for what building leaves."""
    source = workshop / "source"  # a build leaves traces in its source
    for name in ("agent", "trainer", "models"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(workshop), str(source)]
    subprocess.run(build, check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    (wheel,) = workshop.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
