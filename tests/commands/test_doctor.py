"""`lastlayer doctor` as it is typed."""

import json
import os
import subprocess
import sys
from pathlib import Path

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
