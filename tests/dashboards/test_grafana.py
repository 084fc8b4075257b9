"""The history in InfluxDB: Telegraf and Grafana are in no registry here. A stand-in does with a board's real payloads
what Telegraf's configuration says, a real InfluxDB takes them, and it answers every query of the dashboard."""

import contextlib
import fnmatch
import importlib
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import paho.mqtt.client as paho
import pytest

from tests.daemon import PATIENCE_S, ROOT, Daemon
from tests.dashboards.test_prometheus import free_port
from tests.mosquitto import Listener, Mosquitto
from tests.waiting import until

pytestmark = [
    pytest.mark.dashboards,
    pytest.mark.skipif(sys.version_info < (3, 11), reason="Python before 3.11 reads no TOML"),
]

SHIPPED = ROOT / "examples" / "dashboards" / "grafana"
COLUMNS = 24  # of Grafana's grid
TOPICS = ["lastlayer/+/timing/+", "lastlayer/+/result", "lastlayer/+/host", "lastlayer/+/counters"]


def telegraf() -> dict[str, Any]:
    toml = importlib.import_module("tomllib")
    return dict(toml.loads((SHIPPED / "telegraf.conf").read_text("utf-8")))


def inputs() -> list[dict[str, Any]]:
    return list(telegraf()["inputs"]["mqtt_consumer"])


def dashboard() -> dict[str, Any]:
    return dict(json.loads((SHIPPED / "lastlayer.json").read_text("utf-8")))


def queries() -> dict[str, str]:
    """Panel and number → query."""
    return {
        f"{panel['title']} {target['refId']}": target["query"]
        for panel in dashboard()["panels"]
        for target in panel["targets"]
    }


def test_keys_stand_where_telegraf_looks_for_them() -> None:
    """A key behind a sub-table would belong to the sub-table, and not be found."""
    assert [each["topics"][0] for each in inputs()] == TOPICS
    assert len({each["client_id"] for each in inputs()}) == len(inputs())
    for each in inputs():
        assert (each["json_time_key"], each["json_time_format"], each["data_format"]) == ("ts", "unix_ms", "json")
        (parsing,) = each["topic_parsing"]
        assert parsing.keys() == {"topic", "tags"}
        assert parsing["topic"] == each["topics"][0]
        assert parsing["tags"].count("/") == parsing["topic"].count("/")
    assert telegraf()["outputs"]["influxdb"][0]["database"] == "lastlayer"


def test_the_dashboard_is_whole() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < COLUMNS
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
        assert panel["datasource"]["uid"] == f"${{{dashboard()['__inputs'][0]['name']}}}"


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """As Telegraf's JSON parser names what is nested."""
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from flat(inner, f"{name}_{key}" if name else str(key))
    else:
        yield name, value


def line(topic: str, payload: dict[str, Any]) -> str | None:
    """A message in InfluxDB's line protocol, as Telegraf writes it by what is shipped; None without fields."""
    (source,) = (each for each in inputs() if paho.topic_matches_sub(each["topics"][0], topic))
    parsing = source["topic_parsing"][0]
    names = zip(parsing["tags"].split("/"), topic.split("/"), strict=True)
    tags = {name: level for name, level in names if name != "_"}
    fields = {}
    for name, value in flat(payload):
        if name in source.get("tag_keys", []):
            tags[name] = str(value)
        elif name != source["json_time_key"] and not any(fnmatch.fnmatch(name, p) for p in source.get("fielddrop", [])):
            if isinstance(value, str) and name in source.get("json_string_fields", []):
                fields[name] = json.dumps(value)
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                fields[name] = repr(float(value))  # Telegraf makes every number a float
    escaped = {name: re.sub(r"([ ,=])", r"\\\1", value) for name, value in tags.items() if value}
    head = ",".join([source["name_override"], *(f"{name}={value}" for name, value in escaped.items())])
    return f"{head} {','.join(f'{k}={v}' for k, v in fields.items())} {payload['ts']}" if fields else None


@contextmanager
def influxdb(folder: Path) -> Iterator[str]:
    port, rpc = free_port(), free_port()
    (folder / "influxdb.conf").write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:{rpc}"\n[meta]\n dir = "{folder}/meta"\n'
        f'[data]\n dir = "{folder}/data"\n wal-dir = "{folder}/wal"\n'
        f'[http]\n bind-address = "127.0.0.1:{port}"\n log-enabled = false\n'
    )
    url = f"http://127.0.0.1:{port}"
    command = ["influxd", "-config", str(folder / "influxdb.conf")]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:

            def answers() -> bool:
                with contextlib.suppress(URLError, ConnectionError), urlopen(f"{url}/ping", timeout=PATIENCE_S):
                    return True
                return False

            until(answers, PATIENCE_S)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)


def post(url: str, body: str) -> bytes:
    with urlopen(Request(url, body.encode()), timeout=PATIENCE_S) as answer:
        return bytes(answer.read())


def series(url: str, query: str) -> list[Any]:
    answer = json.loads(post(f"{url}/query?db=lastlayer", urlencode({"q": query})))["results"][0]
    assert "error" not in answer, f"{query}: {answer}"
    return list(answer.get("series", []))


NEEDS_INFLUXDB = pytest.mark.skipif(
    not shutil.which("influxd"), reason="influxd is not installed (apt-get install influxdb)"
)


@NEEDS_INFLUXDB
def test_every_query_of_the_dashboard_finds_what_boards_say(
    board: Daemon, push: Callable[[], None], mosquitto: Mosquitto, tmp_path: Path
) -> None:
    with Listener(mosquitto) as listener:
        push()
        for topic in TOPICS:
            listener.wait_for(topic, count=4)
        heard = [(t, p) for t, p in listener.heard if any(paho.topic_matches_sub(topic, t) for topic in TOPICS)]
    with influxdb(tmp_path) as url:
        series(url, "CREATE DATABASE lastlayer")
        lines = list(filter(None, (line(topic, payload) for topic, payload in heard)))
        post(f"{url}/write?db=lastlayer&precision=ms", "\n".join(lines))
        variable = dashboard()["templating"]["list"][0]["query"]
        assert series(url, variable)[0]["values"] == [["node", "porch"]]
        has_sensor = any(payload.get("temperature_c") is not None for _, payload in heard)
        for panel, query in queries().items():
            if panel.startswith("Temperature") and not has_sensor:
                continue
            asked = query.replace("$timeFilter", "time > now() - 1h").replace("$__interval", "500ms")
            found = series(url, asked.replace("$node", "porch"))
            assert found, f"{panel} finds nothing: {asked}"
            assert found[0]["values"], panel
        (table,) = series(url, 'SELECT "label", "probability", "camera" FROM "lastlayer_result"')
        assert {(row[1], row[3]) for row in table["values"]} == {("china", "door"), ("flower", "gate")}
        phases = series(url, 'SELECT count("mean_ms") FROM "lastlayer_timing" GROUP BY "phase"')
        assert {"decode", "session_run"} <= {each["tags"]["phase"] for each in phases}


@NEEDS_INFLUXDB
def test_results_of_a_board_with_tasks_are_told_apart_by_task_and_view_and_its_frames_are_counted_once(
    state: Path, mosquitto: Mosquitto, jpegs: list[bytes], tmp_path: Path
) -> None:
    sides = [
        {"camera": "yard", "name": name, "region": [x, 0.0, 0.5, 1.0]} for name, x in (("left", 0), ("right", 0.5))
    ]
    tasks = {"gate": {"views": [{"camera": "yard"}]}, "spaces": {"views": sides}}
    for task in tasks:
        shutil.copytree(state, tmp_path / "board" / "tasks" / task)
    config = {"mqtt": {"host": mosquitto.host, "port": mosquitto.port, "node": "porch"}, "tasks": tasks}
    with Listener(mosquitto) as listener, Daemon(tmp_path / "board", config) as board:
        for payload in jpegs:
            board.ask("POST", "/v1/frames?camera=yard", payload)
        listener.wait_for("lastlayer/porch/result", count=6)
        listener.wait_for("lastlayer/porch/timing/decode")
    heard = [(topic, payload) for topic, payload in listener.heard if topic.split("/")[2] in ("result", "timing")]
    with influxdb(tmp_path) as url:
        series(url, "CREATE DATABASE lastlayer")
        lines = list(filter(None, (line(topic, payload) for topic, payload in heard)))
        post(f"{url}/write?db=lastlayer&precision=ms", "\n".join(lines))
        query = queries()["Last results A"].replace("$timeFilter", "time > now() - 1h").replace("$node", "porch")
        (table,) = series(url, query)
        rows = [dict(zip(table["columns"], row, strict=True)) for row in table["values"]]
        assert len(rows) == 6
        assert {(row["task"], row["view"]) for row in rows} == {
            ("gate", "yard"),
            ("spaces", "left"),
            ("spaces", "right"),
        }
        query = queries()["Frames a second A"].replace("$timeFilter", "time > now() - 1h").replace("$node", "porch")
        (counts,) = series(url, query)
        assert sum(count for _, count in counts["values"]) == pytest.approx(len(jpegs) / 60)
