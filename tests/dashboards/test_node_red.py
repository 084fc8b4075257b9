"""The Node-RED flow, in a real Node-RED with its real dashboard, looked at with a real browser."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import crops
from tests.daemon import PATIENCE_S, ROOT, Daemon
from tests.dashboards.browser import CHROMIUM, Browser
from tests.dashboards.conftest import CACHE
from tests.mosquitto import Listener, Mosquitto
from tests.waiting import until

pytestmark = [
    pytest.mark.dashboards,
    pytest.mark.skipif(not shutil.which("npm"), reason="npm is not installed"),
]

FLOW = ROOT / "examples" / "dashboards" / "node-red.json"
PACKAGE = Path(__file__).parent / "node-red" / "package.json"
SHOWN = ["porch online", "1: 2 labels", "door: china, gate: flower", "10 seen, 1 bad, 0 dropped", "of memory"]


@pytest.fixture(scope="session")
def installed() -> Path:
    """Node-RED and its dashboard, from npm, once: the folder of node_modules."""
    folder = CACHE / "node-red"
    done = folder / "installed.json"
    if not done.exists() or done.read_text() != PACKAGE.read_text():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE, folder / "package.json")
        command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"]
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if ended.returncode:
            pytest.skip(f"npm cannot install Node-RED here: {ended.stderr[-300:]}")
        shutil.copy(PACKAGE, done)
    return folder / "node_modules"


def flow_for(mosquitto: Mosquitto) -> list[dict[str, Any]]:
    """The flow as it is shipped, but for the address of the broker."""
    nodes: list[dict[str, Any]] = json.loads(FLOW.read_text())
    (broker,) = (node for node in nodes if node["type"] == "mqtt-broker")
    assert (broker["broker"], broker["port"]) == ("127.0.0.1", "1883")
    broker["port"] = str(mosquitto.port)
    return nodes


@contextmanager
def node_red(folder: Path, modules: Path, flow: list[dict[str, Any]]) -> Iterator[str]:
    """The URL of a Node-RED that runs this flow."""
    folder.mkdir()
    (folder / "node_modules").symlink_to(modules)
    shutil.copy(PACKAGE, folder / "package.json")
    (folder / "flow.json").write_text(json.dumps(flow))
    (folder / "settings.js").write_text(
        "module.exports = {uiPort: 0, uiHost: '127.0.0.1', flowFile: 'flow.json', disableEditor: true,"
        " telemetry: {enabled: false}, externalModules: {autoInstall: false},"
        " logging: {console: {level: 'info', metrics: false, audit: false}}}\n"
    )
    log = folder / "log"
    environment = {**os.environ, "HOME": str(folder)}
    command = ["node", str(modules / "node-red" / "red.js"), "--userDir", str(folder)]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=folder, env=environment, start_new_session=True
        )

    def port() -> int | None:
        assert process.poll() is None, log.read_text()
        return listening_port(process.pid) if "Started flows" in log.read_text() else None

    try:
        yield f"http://127.0.0.1:{until(port, PATIENCE_S)}"
        text = log.read_text()
        assert "[error]" not in text, text
        assert "unknown" not in text, text  # nodes of types that nobody knows
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def listening_port(pid: int) -> int | None:
    import psutil

    ports = [c.laddr.port for c in psutil.Process(pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    return ports[0] if ports else None


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_flow_receives_and_shows_what_the_board_says(
    installed: Path, board: Daemon, push: Callable[[], None], mosquitto: Mosquitto, tmp_path: Path
) -> None:
    flow = flow_for(mosquitto)
    with node_red(tmp_path / "node-red", installed, flow) as url, Browser(tmp_path / "chromium") as browser:
        browser.open(f"{url}/dashboard/lastlayer")
        browser.wait_for("What is seen")
        push()
        for text in SHOWN:
            browser.wait_for(text)
        charts = "[...document.querySelectorAll('canvas')].filter(c => c.width > 100).length"
        until(lambda: browser.run(charts) >= 1, PATIENCE_S)
        with Listener(mosquitto) as listener:
            browser.run("[...document.querySelectorAll('button')].find(b => /retrain/i.test(b.innerText)).click()")
            assert listener.wait_for("lastlayer/porch/command/retrain") == [{}]
        browser.wait_for("done")
        browser.screenshot(Path(os.environ.get("LASTLAYER_SCREENSHOTS", tmp_path)) / "node-red.png")


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_flow_shows_what_each_view_of_a_board_with_tasks_sees_and_commands_each_task(
    installed: Path, state: Path, mosquitto: Mosquitto, photographs: list[np.ndarray], tmp_path: Path
) -> None:
    tasks = {"gate": {"views": [{"camera": "yard"}]}, "spaces": {"views": [{"camera": "street", "name": "left"}]}}
    for task in tasks:
        shutil.copytree(state, tmp_path / "board" / "tasks" / task)
    config = {"mqtt": {"host": mosquitto.host, "port": mosquitto.port, "node": "porch"}, "tasks": tasks}
    with (
        Daemon(tmp_path / "board", config) as board,
        node_red(tmp_path / "node-red", installed, flow_for(mosquitto)) as url,
        Browser(tmp_path / "chromium") as browser,
    ):
        browser.open(f"{url}/dashboard/lastlayer")
        browser.wait_for("What is seen")
        for camera, photograph in zip(("yard", "street"), photographs, strict=True):
            for payload in crops(photograph, 5, seed=3):
                board.ask("POST", f"/v1/frames?camera={camera}", payload)
        for text in ("gate yard: china, spaces left: flower", "gate 1: 2 labels", "; spaces 1: 2 labels"):
            browser.wait_for(text)
        with Listener(mosquitto) as listener:
            browser.run("[...document.querySelectorAll('button')].find(b => /retrain/i.test(b.innerText)).click()")
            listener.wait_for("lastlayer/porch/command/retrain", count=2)
            commands = [payload for topic, payload in listener.heard if topic.endswith("/command/retrain")]
        assert sorted(command["task"] for command in commands) == ["gate", "spaces"]
        browser.wait_for("spaces: done")
        browser.screenshot(Path(os.environ.get("LASTLAYER_SCREENSHOTS", tmp_path)) / "node-red-tasks.png")


def test_the_flow_names_nothing_twice_and_no_node_that_is_not_there() -> None:
    nodes = json.loads(FLOW.read_text())
    ids = [node["id"] for node in nodes]
    assert len(set(ids)) == len(ids)
    for node in nodes:
        for wire in (target for output in node.get("wires", []) for target in output):
            assert wire in ids
        for key in ("z", "broker", "group", "page", "theme", "ui"):
            assert node["type"] == "mqtt-broker" or node.get(key) in (*ids, None, "")
