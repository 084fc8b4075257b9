"""The Debian package: installed, upgraded, removed and purged under a real systemd, and what it holds."""

import subprocess
from pathlib import Path

import pytest

from tests.package import native, package
from tests.systemd.container import Container, Unit

pytestmark = pytest.mark.systemd

STATE = "var/lib/lastlayer"


def learnt(container: Container) -> str:
    return container.run("lastlayer", "cache", "stats", "--json", user="lastlayer")


def install(container: Container, path: Path, *words: str) -> str:
    (container.root / "root" / path.name).write_bytes(path.read_bytes())
    return container.run("dpkg", *words, "--install", f"/root/{path.name}")


def test_what_is_learnt_outlives_upgrade_and_removal_and_ends_with_a_purge(
    container: Container, service: Unit, tmp_path: Path, jpegs: list[bytes]
) -> None:
    service.is_reached("active")
    for label, picture in zip(("china", "flower"), jpegs, strict=True):
        container.run(
            *("curl", "-sf", "--data-binary", "@-", f"http://127.0.0.1:8080/v1/frames?label={label}"), stdin=picture
        )
    config = container.root / "etc/lastlayer/lastlayer.yaml"
    config.write_text("mqtt:\n  node: porch\n")
    container.run("systemctl", "restart", service.name)
    before = service.pid

    newer = package(native(), tmp_path, "0.1.0+next1")
    install(container, newer, "--force-confdef")
    service.is_restarted(after=before)
    assert '"node": "porch"' in container.run("curl", "-sf", "http://127.0.0.1:8080/v1/status")
    assert '"flower": 1' in container.run("curl", "-sf", "http://127.0.0.1:8080/v1/status")

    container.power_off()
    container.boot()
    service.is_reached("active")  # by itself, as at every start of the board

    container.run("systemctl", "disable", "--now", service.name)
    install(container, newer)
    assert container.run("systemctl", "is-enabled", service.name, expect=1).strip() == "disabled"
    container.run("systemctl", "enable", "--now", service.name)
    service.is_reached("active")

    container.run("dpkg", "--remove", "lastlayer")
    assert service.show("LoadState") == "not-found"
    assert not (container.root / "usr/lib/lastlayer").exists(), "compiled modules are left"
    assert (container.root / STATE / "cache").is_dir()
    assert config.read_text() == "mqtt:\n  node: porch\n"

    install(container, newer)
    service.is_reached("active")
    assert '"flower": 1' in container.run("curl", "-sf", "http://127.0.0.1:8080/v1/status")

    container.run("dpkg", "--purge", "lastlayer")
    for path in (STATE, "etc/lastlayer", "var/cache/lastlayer", "usr/lib/lastlayer", "usr/bin/lastlayer"):
        assert not (container.root / path).exists(), path


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The packages for boards, by architecture."""
    folder = tmp_path_factory.mktemp("boards")
    return {architecture: package(architecture, folder) for architecture in ("armhf", "arm64")}


@pytest.mark.parametrize(("architecture", "machine"), [("armhf", 0x28), ("arm64", 0xB7)])  # e_machine of ELF
def test_a_board_s_package_brings_the_runtime_of_its_architecture(
    architecture: str, machine: int, boards: dict[str, Path], tmp_path: Path
) -> None:
    built = boards[architecture]
    field = subprocess.run(["dpkg-deb", "--field", built, "Architecture"], check=True, capture_output=True, text=True)
    assert field.stdout.strip() == architecture
    subprocess.run(["dpkg-deb", "--extract", built, tmp_path / "root"], check=True)
    library = tmp_path / "root/usr/lib/lastlayer"
    (runtime,) = library.glob("tflite_runtime/*.so")
    assert int.from_bytes(runtime.read_bytes()[18:20], "little") == machine
    assert (library / "paho/mqtt/client.py").is_file()
    assert not (library / "trainer").exists()
    assert list(library.glob("numpy*")) == [], "Debian's is taken"


def test_the_same_sources_give_the_same_package(boards: dict[str, Path], tmp_path: Path) -> None:
    assert package("armhf", tmp_path).read_bytes() == boards["armhf"].read_bytes()
