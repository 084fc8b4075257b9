import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from agent.reporting import host


def test_memory_is_felt_and_heat_where_there_is_a_sensor() -> None:
    assert (host.free_bytes() or 0) > 1 << 20
    temperature = host.temperature_c()
    assert temperature is None or 0 < temperature < 127


def test_a_process_goes_after_everyone_else() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        host.lower_priority(child.pid)
        assert os.getpriority(os.PRIO_PROCESS, child.pid) == host.NICENESS
        assert psutil.Process(child.pid).ionice().value == 7
        assert Path(f"/proc/{child.pid}/oom_score_adj").read_text().strip() == str(host.EXPENDABLE)
        assert child.stdin is not None
        child.stdin.close()


def test_a_process_that_has_ended_is_none_to_lower() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    with pytest.raises(ProcessLookupError):
        os.getpriority(os.PRIO_PROCESS, child.pid)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    host.lower_priority(child.pid)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before, "nobody else is lowered in its place"


def test_the_figures_are_those_of_this_machine(tmp_path: Path) -> None:
    figures = host.Host(tmp_path).figures()
    assert figures["rss_bytes"] > 1 << 20
    assert figures["memory_free_bytes"] < figures["memory_total_bytes"]
    assert 0 <= figures["cpu_percent"] <= 100
    assert figures["flash_free_bytes"] > 0
    for key, value in figures.items():  # one type for each key, whatever a board tells
        kind = bool if key == "throttled" else int if key.endswith("_bytes") else float
        assert value is None or type(value) is kind, key


def refuse() -> None:
    raise psutil.AccessDenied(msg="the sandbox forbids it")


def test_a_figure_that_fails_is_null_and_said_once_until_it_works_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    board = host.Host(tmp_path)
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(psutil, "virtual_memory", refuse)
            for _ in range(2):
                figures = board.figures()
                assert (figures["memory_total_bytes"], figures["memory_free_bytes"]) == (None, None)
                assert figures["rss_bytes"] > 1 << 20
        assert board.figures()["memory_total_bytes"] > 1 << 20
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert (
        said
        == [f"{name}: AccessDenied: the sandbox forbids it" for name in ("memory_total_bytes", "memory_free_bytes")] * 2
    )


@pytest.mark.parametrize("name", ["sensors_temperatures", "virtual_memory"])
def test_what_a_retraining_asks_the_board_is_not_known_where_psutil_fails(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, name, refuse)
    assert (host.temperature_c if name == "sensors_temperatures" else host.free_bytes)() is None


def test_a_load_that_cannot_be_told_ends_no_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", refuse)
    assert host.Host(tmp_path).figures()["cpu_percent"] is None


def test_bytes_to_flash_are_those_of_the_device_below_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    device = folder.stat().st_dev
    statistics = tmp_path / f"dev/block/{os.major(device)}:{os.minor(device)}/stat"
    assert host.Host(folder, sys=tmp_path).figures()["flash_written_bytes"] is None
    statistics.parent.mkdir(parents=True)
    statistics.write_text("  100 0 8000 10   50 0 2000 99 0 5 6 0 0 0 0 0 0\n")
    assert host.Host(folder, sys=tmp_path).figures()["flash_written_bytes"] == 2000 * 512


RASPBERRY = "devices/platform/soc/soc:firmware/get_throttled"


def cooling(kind: str, state: str) -> dict[str, str]:
    return {"class/thermal/cooling_device1/type": kind, "class/thermal/cooling_device1/cur_state": state}


@pytest.mark.parametrize(
    ("files", "throttled"),
    [
        ({}, None),
        ({RASPBERRY: "0"}, False),
        ({RASPBERRY: "50000"}, False),  # it happened once
        ({RASPBERRY: "50005"}, True),
        ({RASPBERRY: "what?"}, None),
        (cooling("cpufreq-cpu0", "0"), False),
        (cooling("thermal-cpufreq-0", "3"), True),
        (cooling("pwm-fan", "3"), None),
    ],
)
def test_throttling_is_told_as_boards_tell_it(files: dict[str, str], throttled: bool | None, tmp_path: Path) -> None:
    for name, content in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n")
    assert host.Host(tmp_path, sys=tmp_path).throttled() is throttled


def test_the_frequency_is_that_of_the_fastest_core(tmp_path: Path) -> None:
    for core, khz in enumerate((600_000, 1_800_000)):
        file = tmp_path / f"devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq"
        file.parent.mkdir(parents=True)
        file.write_text(f"{khz}\n")
    assert host.Host(tmp_path, sys=tmp_path).figures()["cpu_mhz"] == 1800.0
