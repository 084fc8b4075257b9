"""The unit, as systemd reads it. No container is needed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from agent.board.systemd import MQTT_PASSWORD
from agent.errors import BundleError, ConfigError
from tests.daemon import ROOT

UNIT = ROOT / "systemd" / "lastlayer.service"
EXPOSURE = 1.5  # at most; 0 is closed to everything, 10 is a service without any setting

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def analyze(*words: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["systemd-analyze", "--no-pager", *map(str, words)], capture_output=True, text=True)


def settings(key: str) -> list[str]:
    return [line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith(f"{key}=")]


def test_systemd_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/usr/bin/lastlayer", shutil.which("true") or "/bin/true"))
    verified = analyze("verify", "--man=no", unit)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


def test_it_exposes_little() -> None:
    judged = analyze("security", "--offline=true", f"--threshold={round(10 * EXPOSURE)}", UNIT)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert "Overall exposure level" in judged.stdout


def test_what_will_not_get_better_is_not_tried_again() -> None:
    (codes,) = settings("RestartPreventExitStatus")
    assert set(map(int, codes.split())) == {ConfigError.exit_code, BundleError.exit_code}


def test_the_password_is_the_credential_that_the_daemon_looks_for() -> None:
    assert settings("LoadCredential") == [f"{MQTT_PASSWORD}:/etc/lastlayer/mqtt-password"]


def test_the_users_are_those_of_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-sysusers") is None:
        pytest.skip("systemd-sysusers is not installed")
    (tmp_path / "etc").mkdir()
    command = ["systemd-sysusers", f"--root={tmp_path}", str(ROOT / "systemd" / "sysusers.conf")]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"systemd-sysusers cannot write to another root here: {made.stderr}")
    users = {line.split(":")[0] for line in (tmp_path / "etc/passwd").read_text().splitlines()}
    groups = {line.split(":")[0] for line in (tmp_path / "etc/group").read_text().splitlines()}
    assert set(settings("User")) <= users
    assert set(settings("Group")) <= groups
