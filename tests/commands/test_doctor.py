"""`lastlayer doctor` as it is typed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon import ROOT, Daemon, lastlayer

NAMES = ["python", "libraries", "runtime", "cpu", "glibc", "memory", "clock"]
NAMES += ["config", "flash", "state", "address", "access", "socket", "broker", "model", "head"]


def test_every_check_is_said_for_a_program(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("http:\n  port: 0\n")
    told = json.loads(lastlayer("doctor", "--config", config, "--state", tmp_path / "state", "--json").stdout)
    assert [check["name"] for check in told["checks"]] == NAMES
    assert told["outcome"] in ("ok", "warn")
    assert not (tmp_path / "state").exists(), "it changes nothing"


def test_a_configuration_that_is_refused_is_a_failure_with_its_line(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("htttp: 1\n")
    said = lastlayer("doctor", "--config", config, expect=1).stdout
    assert f"fail  config     {config}:1: htttp is not a key" in said


def test_every_check_of_each_task_is_said_by_its_name(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("http: {port: 0}\ntasks: {gate: {views: [{camera: yard}]}, door: {}}\n")
    told = json.loads(lastlayer("doctor", "--config", config, "--state", tmp_path / "state", "--json").stdout)
    of_each = ["model", "head", "labels"]
    assert [check["name"] for check in told["checks"]] == [*NAMES[:-2], *of_each, *of_each, "tasks", "cameras", "kept"]
    assert [check["name"] for check in told["checks"] if check["found"].startswith("gate: ")] == of_each
    assert told["outcome"] == "warn"
    assert not (tmp_path / "state").exists(), "it changes nothing"


def test_a_view_outside_its_picture_is_a_failure_with_its_line(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("tasks:\n  gate:\n    views:\n      - {camera: yard, region: [0.62, 0.10, 0.50, 0.35]}\n")
    said = lastlayer("doctor", "--config", config, expect=1).stdout
    assert f"fail  config     {config}:4: tasks.gate.views[1].region: leaves the picture" in said


def test_beside_the_running_daemon_all_is_well(tmp_path: Path) -> None:
    with Daemon(tmp_path / "state") as daemon:
        config = tmp_path / "config.yaml"
        config.write_text(f"http:\n  port: {daemon.port}\nstate: {tmp_path / 'state'}\n")
        said = lastlayer("doctor", "--config", config).stdout
    assert "in use by the running daemon" in said
    assert "Lastlayer answers there" in said


def test_it_speaks_where_nothing_else_can_be_imported(tmp_path: Path) -> None:
    for name in ("numpy", "PIL", "psutil", "yaml", "tqdm", "paho", "ai_edge_litert", "tflite_runtime"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('no {name} here')\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    command = [sys.executable, "-m", "agent", "doctor"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert ended.returncode == 1
    assert "fail  config     cannot be read without its library: no " in ended.stdout, ended.stderr


@pytest.mark.parametrize("name", ["numpy", "PIL", "yaml", "h11", "paho", "ai_edge_litert"])
def test_it_says_what_it_can_where_one_library_is_missing(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text(f"raise ImportError('no {name} here')\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    command = [sys.executable, "-m", "agent", "--state", str(tmp_path / "state"), "doctor", "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert ended.returncode in (0, 1), ended.stderr
    assert {check["name"] for check in json.loads(ended.stdout)["checks"]} >= {"libraries", "config"}
