"""One container and one build of the package for all tests of a module."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import ROOT
from tests.systemd.container import CannotBootError, Container, Unit


def package(architecture: str, folder: Path, version: str | None = None) -> Path:
    """The Debian package of these sources; the wheels stay in build/wheels for the next time."""
    words = [architecture, "--out", str(folder), *(["--version", version] if version else [])]
    command = [sys.executable, str(ROOT / "debian" / "build.py"), *words]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}  # whatever is committed meanwhile
    ended = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return Path(ended.stdout.strip())


def native() -> str:
    return subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    try:
        with Container(tmp_path_factory.mktemp("container")) as container:
            yield container
    except CannotBootError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def service(container: Container, tmp_path_factory: pytest.TempPathFactory) -> Unit:
    """The package, installed and started in the container, with a watchdog that is quicker than a board's."""
    built = package(native(), tmp_path_factory.mktemp("package"))
    (container.root / "root/lastlayer.deb").write_bytes(built.read_bytes())
    drop_in = container.root / "etc/systemd/system/lastlayer.service.d/quick.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Service]\nWatchdogSec=6s\nTimeoutAbortSec=2s\nRestartSec=100ms\n")
    container.run("dpkg", "--install", "/root/lastlayer.deb")
    return Unit(container, "lastlayer.service")
