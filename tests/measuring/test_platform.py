from pathlib import Path

import numpy as np
import pytest

from agent.measuring.platform import blas, blas_threads, cpu_model, describe, file_system

ODROID = """\
processor\t: 0
model name\t: ARMv7 Processor rev 3 (v7l)
BogoMIPS\t: 84.00

Hardware\t: ODROID-XU4
Revision\t: 0100
"""
PI_64 = "processor\t: 0\nBogoMIPS\t: 108.00\n\nRevision\t: c03111\nModel\t\t: Raspberry Pi 4 Model B Rev 1.1\n"
MOUNTS = """\
/dev/mmcblk0p2 / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
/dev/sda1 /var/lib ext4 rw 0 0
overlay /var/lib overlay rw 0 0
"""


@pytest.mark.parametrize(
    ("content", "name"),
    [(ODROID, "ARMv7 Processor rev 3 (v7l)"), (PI_64, "Raspberry Pi 4 Model B Rev 1.1"), ("", "unknown")],
)
def test_the_processor_is_named_also_where_the_kernel_names_only_the_board(
    tmp_path: Path, content: str, name: str
) -> None:
    (tmp_path / "cpuinfo").write_text(content)
    assert cpu_model(tmp_path / "cpuinfo") == name


@pytest.mark.parametrize(
    ("folder", "found"),
    [
        ("/home/x", "ext4 on /dev/mmcblk0p2"),
        ("/tmp/y", "tmpfs on tmpfs"),
        ("/tmpfile", "ext4 on /dev/mmcblk0p2"),
        ("/var/lib/lastlayer", "overlay on overlay"),
    ],
)
def test_a_folder_lies_on_the_innermost_and_latest_mount(tmp_path: Path, folder: str, found: str) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    assert file_system(Path(folder), tmp_path / "mounts") == found


def test_the_threads_of_blas_are_those_that_the_environment_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert blas_threads() is None
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert blas_threads() == 3
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    assert blas_threads() == 1


def test_an_older_numpy_names_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    def show_config() -> None:  # as before numpy 1.25: it takes no mode
        raise AssertionError

    monkeypatch.setattr(np, "show_config", show_config)
    monkeypatch.setattr(np.__config__, "blas_opt_info", {"libraries": ["blas", "cblas"]}, raising=False)
    assert blas() == "blas cblas"


def test_this_machine_is_described() -> None:
    found = describe()
    assert found["numpy"] == np.__version__
    assert found["runtime_version"] != "unknown"
