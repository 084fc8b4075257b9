"""One container and one build of the package for all tests of a module."""

from collections.abc import Iterator

import pytest

from tests.package import native, package
from tests.systemd.container import CannotBootError, Container, Unit


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
