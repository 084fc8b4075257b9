"""The checks of the machine, each told what a machine would show."""

import configparser
import re
from pathlib import Path

import pytest

from agent.doctor import machine
from agent.doctor.checks import Check, worst
from tests.daemon import ROOT

BOARD = {
    "numpy": "1.24.2",
    "pillow": "9.4.0",
    "psutil": "5.9.4",
    "pyyaml": "6.0",
    "tqdm": "4.64.1",
    "h11": "0.14.0",
    "paho-mqtt": "2.1.0",
    "tflite-runtime": "2.14.0",
    "ai-edge-litert": None,
}


def test_a_board_with_debian_12_is_well() -> None:
    checks = [
        machine.python((3, 11, 2)),
        machine.libraries(BOARD),
        machine.runtime(BOARD, "armv7l", (3, 11)),
        machine.glibc(BOARD, ("glibc", "2.36")),
    ]
    assert {check.outcome for check in checks} == {"ok"}
    assert all(not check.advice for check in checks)


def test_a_python_that_is_too_old_fails() -> None:
    assert machine.python((3, 9, 2)).outcome == "fail"


@pytest.mark.parametrize(("name", "found"), [("paho-mqtt", "1.6.1"), ("numpy", None), ("pillow", "8.1.2")])
def test_a_library_that_is_missing_or_too_old_is_named_with_what_to_do(name: str, found: str | None) -> None:
    check = machine.libraries({**BOARD, name: found})
    assert check.outcome == "fail"
    assert check.advice.startswith(f"{name} {machine.LIBRARIES[name][0]} or newer: ")
    assert machine.LIBRARIES[name][1] in check.advice


def test_numpy_2_breaks_the_runtime_of_the_board() -> None:
    check = machine.runtime({**BOARD, "numpy": "2.0.1"}, "aarch64", (3, 11))
    assert (check.outcome, "numpy<2" in check.advice) == ("fail", True)


def test_numpy_2_is_no_trouble_for_litert() -> None:
    assert machine.runtime({**BOARD, "numpy": "2.0.1", "ai-edge-litert": "2.3.0"}, "x86_64", (3, 11)).outcome == "ok"


def test_the_slow_runtime_on_a_desktop_is_a_warning() -> None:
    assert machine.runtime(BOARD, "x86_64", (3, 11)).outcome == "warn"


@pytest.mark.parametrize(
    ("architecture", "python", "advice"),
    [
        ("x86_64", (3, 13), "ai-edge-litert>=2.1,<3"),
        ("armv7l", (3, 11), "tflite-runtime==2.14.0 'numpy<2'"),
        ("aarch64", (3, 11), "tflite-runtime==2.14.0 'numpy<2'"),
        ("aarch64", (3, 13), "ai-edge-litert==1.4.0"),
        ("armv7l", (3, 13), "take Python 3.11"),
    ],
)
def test_without_a_runtime_it_says_which(architecture: str, python: tuple[int, int], advice: str) -> None:
    check = machine.runtime({**BOARD, "tflite-runtime": None}, architecture, python)
    assert check.outcome == "fail"
    assert advice in check.advice


@pytest.mark.parametrize(
    ("architecture", "features", "outcome"),
    [
        ("armv7l", "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt", "ok"),  # Cortex-A15
        ("armv7l", "half thumb fastmult vfp edsp neon vfpv3 tls", "fail"),  # Cortex-A9
        ("armv7l", "half thumb fastmult vfp edsp vfpv3 vfpv3d16", "fail"),  # Tegra 2
        ("armv8l", "fp asimd evtstrm crc32 cpuid", "ok"),  # 32 bits on a 64-bit kernel
        ("armv6l", "half thumb fastmult vfp edsp java tls", "fail"),  # Raspberry Pi Zero
        ("aarch64", "fp asimd", "ok"),
        ("x86_64", "", "ok"),
    ],
)
def test_the_processor_must_have_what_the_runtime_is_built_with(
    architecture: str, features: str, outcome: str, tmp_path: Path
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nFeatures\t: {features}\nHardware\t: ODROID-XU4\n")
    check = machine.cpu(architecture, cpuinfo)
    assert check.outcome == outcome
    assert bool(check.advice) == (outcome == "fail")


@pytest.mark.parametrize(
    ("library", "outcome"), [(("glibc", "2.34"), "ok"), (("glibc", "2.31"), "fail"), (("", ""), "fail")]
)
def test_the_c_library_must_be_that_of_the_wheel(library: tuple[str, str], outcome: str) -> None:
    assert machine.glibc(BOARD, library).outcome == outcome


def test_litert_takes_an_older_c_library() -> None:
    assert machine.glibc({**BOARD, "ai-edge-litert": "2.3.0"}, ("glibc", "2.31")).outcome == "ok"


def test_without_a_memory_controller_memory_max_has_no_effect(tmp_path: Path) -> None:
    cmdline = tmp_path / "cmdline"
    cmdline.write_text("console=tty1 cgroup_disable=memory root=PARTUUID=1\n")
    controllers = tmp_path / "cgroup.controllers"
    controllers.write_text("cpuset cpu io pids\n")
    check = machine.memory(tmp_path, cmdline)
    assert check.outcome == "warn"
    assert "cgroup_disable=memory" in check.found
    assert "add cgroup_enable=memory" in check.advice
    controllers.write_text("cpuset cpu io memory pids\n")
    assert machine.memory(tmp_path, cmdline).outcome == "ok"


def test_the_older_hierarchy_of_cgroups_can_limit_too(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    assert machine.memory(tmp_path).outcome == "ok"


def test_a_clock_that_was_never_set_is_a_warning() -> None:
    assert machine.clock(0.0).outcome == "warn"
    assert machine.clock(1_900_000_000.0).outcome == "ok"


def test_this_machine_is_looked_at_in_full() -> None:
    names = [check.name for check in machine.machine()]
    assert names == ["python", "libraries", "runtime", "cpu", "glibc", "memory", "clock"]


def test_what_is_asked_for_is_what_setup_cfg_asks_for() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    required = setup["options"]["install_requires"]
    for name, (oldest, _) in machine.LIBRARIES.items():
        assert re.search(rf"^{name}>={re.escape(oldest)}", required, re.MULTILINE), name
    assert "tflite-runtime==2.14.0" in required
    assert 'ai-edge-litert>=2.1,<3; platform_machine == "x86_64"' in required
    assert "ai-edge-litert==1.4.0" in required


def test_the_worst_counts() -> None:
    ok, warning, failure = Check("a", "ok", ""), Check("b", "warn", ""), Check("c", "fail", "")
    assert worst([ok, failure, warning]) == "fail"
    assert worst([ok, warning]) == "warn"
    assert worst([]) == "ok"
