"""Debian's Prometheus with the configuration that is shipped, and a real board."""

import json
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from tests.daemon import PATIENCE_S, ROOT, Daemon
from tests.waiting import until

pytestmark = [
    pytest.mark.dashboards,
    pytest.mark.skipif(
        not (shutil.which("prometheus") and shutil.which("promtool")),
        reason="prometheus is not installed (apt-get install prometheus)",
    ),
]

SHIPPED = ROOT / "examples" / "dashboards" / "prometheus"
RULES = SHIPPED / "lastlayer.rules.yml"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def prometheus(folder: Path, board: Daemon) -> Iterator[str]:
    """Its URL; it asks the board every second."""
    shutil.copy(RULES, folder)
    config = (SHIPPED / "prometheus.yml").read_text().replace("127.0.0.1:8080", f"127.0.0.1:{board.port}")
    config, count = re.subn(r"(scrape|evaluation)_interval: 15s", r"\1_interval: 1s", config)
    assert (count, str(board.port) in config) == (2, True)
    (folder / "prometheus.yml").write_text(config)
    port = free_port()
    command = ["prometheus", "--config.file", folder / "prometheus.yml", "--storage.tsdb.path", folder / "data"]
    command += [f"--web.listen-address=127.0.0.1:{port}"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(list(map(str, command)), stdout=log, stderr=log) as process,
    ):
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)


def ask(url: str, query: str) -> list[tuple[dict[str, str], float]]:
    """The labels and values of an instant query; none while Prometheus is not ready."""
    try:
        with urlopen(f"{url}/api/v1/query?{urlencode({'query': query})}", timeout=PATIENCE_S) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    except (URLError, ConnectionError):
        return []
    return [(series["metric"], float(series["value"][1])) for series in found]


def test_prometheus_scrapes_the_board_and_its_rules_have_values(
    board: Daemon, push: Callable[[], None], tmp_path: Path
) -> None:
    with prometheus(tmp_path, board) as url:
        until(lambda: ask(url, "lastlayer_build_info"), PATIENCE_S)
        push()
        assert until(lambda: ask(url, "lastlayer_frames_total == 10"), PATIENCE_S)[0][0]["source"] == "http"
        assert ask(url, "lastlayer_bad_frames_total")[0][1] == 1
        until(lambda: ask(url, "lastlayer_mqtt_connected == 1"), PATIENCE_S)
        push()  # a rate is between two scrapes
        for record in recorded():
            if record != "lastlayer:flash_written_bytes:rate1d":  # this board writes nothing
                until(lambda record=record: ask(url, f"{record} >= 0"), PATIENCE_S)  # type: ignore[misc]
        phases = {labels["phase"]: value for labels, value in ask(url, "lastlayer:phase_seconds:p95_5m")}
        assert {"decode", "bottleneck", "session_run", "result_processing"} <= phases.keys()
        assert all(0 < seconds < PATIENCE_S for seconds in phases.values())
        for metric in used():
            if metric not in ("lastlayer_temperature_celsius", "up"):  # a sensor that not every machine has
                assert ask(url, f"count({metric})"), f"the board has no {metric}"


def recorded() -> list[str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule["record"] for group in groups for rule in group["rules"] if "record" in rule]


def used() -> set[str]:
    """The metrics of a board that the rules are made of."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    expressions = " ".join(rule["expr"] for group in groups for rule in group["rules"])
    return set(re.findall(r"(?<![:\w])lastlayer_\w+", expressions))


def test_promtool_finds_no_fault() -> None:
    for words in (["check", "config", SHIPPED / "prometheus.yml"], ["check", "rules", RULES]):
        ended = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr + ended.stdout


def test_the_rules_record_and_alert_as_they_should(tmp_path: Path) -> None:
    cases = (Path(__file__).parent / "rules_test.yml").read_text().replace("RULES", str(RULES))
    (tmp_path / "test.yml").write_text(cases)
    ended = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "test.yml"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr + ended.stdout
