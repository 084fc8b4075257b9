"""The Home Assistant dashboard, whose entities a real board announces; and a real Home Assistant that hears of them."""

import json
import re
import shutil
import subprocess
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from agent.reporting.discovery import UNNAMED, Entity, discovery_payload
from agent.reporting.topics import Topics
from tests.boards.debian import UnavailableError
from tests.conftest import crops, encoded
from tests.daemon import PATIENCE_S, ROOT, Daemon
from tests.dashboards.home_assistant import HomeAssistant, environment, installed
from tests.mosquitto import Listener, Mosquitto
from tests.waiting import until

pytestmark = pytest.mark.dashboards

CHECK = Path(__file__).with_name("home_assistant_check.py")
DASHBOARD = ROOT / "examples" / "dashboards" / "home-assistant.yaml"
AUTOMATIONS = DASHBOARD.with_name("home-assistant-automations.yaml")
# Those of its frontend that need no add-on. https://www.home-assistant.io/dashboards/cards/
CARDS = {"entities", "glance", "history-graph", "statistics-graph", "markdown", "button", "tile", "gauge"}


FRONT_DOOR, GATE, DECODE = (f"sensor.lastlayer_porch_{name}" for name in ("front_door", "gate", "phase_decode"))


@pytest.fixture(scope="session")
def python() -> Path:
    """That of a real Home Assistant."""
    try:
        return installed()
    except UnavailableError as error:
        pytest.skip(f"no Home Assistant: {error}")


def cards() -> list[dict[str, Any]]:
    (view,) = yaml.safe_load(DASHBOARD.read_text("utf-8"))["views"]
    return list(view["cards"])


def rows() -> Iterator[dict[str, Any]]:
    for card in cards():
        for row in card["entities"]:
            yield {"entity": row} if isinstance(row, str) else row


def slug(text: str) -> str:
    """As Home Assistant makes entity ids of names."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_")


def test_it_is_made_of_cards_that_every_home_assistant_has() -> None:
    assert {card["type"] for card in cards()} <= CARDS
    assert {row.get("type", "attribute") for row in rows()} == {"attribute"}
    assert all(row["attribute"] for row in rows() if row.get("type") == "attribute")


def test_every_entity_and_attribute_that_it_shows_is_one_that_the_board_announces(
    board: Daemon, push: Callable[[], None], mosquitto: Mosquitto
) -> None:
    with Listener(mosquitto, "#") as listener:
        push()
        shown = {row["entity"] for row in rows()}

        def entities(discovery: dict[str, Any]) -> dict[str, str]:
            name = discovery["device"]["name"]
            return {
                f"{component['platform']}.{slug(name + ' ' + component['name'])}": component.get(
                    "json_attributes_topic", ""
                )
                for component in discovery["components"].values()
            }

        def is_complete(discovery: Any) -> bool:
            return shown <= entities(discovery).keys()

        try:
            discovery = listener.wait_for("homeassistant/device/+/config", is_complete)[-1]
        except AssertionError:
            heard = [payload for topic, payload in listener.heard if topic.endswith("/config")]
            raise AssertionError(f"never announced: {shown - entities(heard[-1]).keys()}") from None
        for row in rows():
            if "attribute" in row:
                topic = entities(discovery)[row["entity"]]
                assert row["attribute"] in listener.wait_for(topic)[-1], json.dumps(row)


def refused(python: Path, payload: dict[str, Any]) -> list[str]:
    """The entities that Home Assistant's own schemas do not take, and why."""
    words, given = [str(python), str(CHECK)], json.dumps(payload)
    ended = subprocess.run(words, input=given, capture_output=True, text=True, timeout=PATIENCE_S, env=environment())
    assert ended.returncode == ended.stdout.count("\n"), ended.stderr
    return ended.stdout.splitlines()


def test_home_assistant_takes_every_entity(python: Path) -> None:
    phases, labels = ["decode", "bottleneck"], ["cat", 'say "cat" }} \\ 🐈', "unknown"]
    cameras = [Entity("state", "", camera) for camera in ("door", "a/b #1+%")]
    views = [Entity(kind, "gate", "a/b #1+%") for kind in ("state", "on")]
    for topics, entities in (
        (Topics("Küche 1"), dict.fromkeys([*UNNAMED, *cameras], labels)),
        (Topics("porch"), dict.fromkeys([*(entity._replace(task="gate") for entity in UNNAMED), *views], labels[:2])),
        (Topics("porch"), dict.fromkeys([*cameras, *views], ())),
    ):
        assert refused(python, discovery_payload(topics, entities, phases)) == []


def test_the_check_notices_what_is_wrong(python: Path) -> None:
    entities = {Entity("head"): (), Entity("state", "", "door"): ("cat",)}
    payload = discovery_payload(Topics("porch"), entities, ["decode"])
    payload["components"]["camera_door"]["options"] = []
    payload["components"]["phase_decode"]["unit_of_measurement"] = "cm"
    payload["components"]["head"]["value_template"] = "{{ value_json."
    assert sorted(line.split(":")[0] for line in refused(python, payload)) == ["camera_door", "head", "phase_decode"]


def test_what_was_announced_is_there_after_restarts_of_either_side_until_it_is_forgotten(
    python: Path, state: Path, mosquitto: Mosquitto, photographs: list[np.ndarray], tmp_path: Path
) -> None:
    china, flower = (crops(photograph, 5, seed=3) for photograph in photographs)
    board = Daemon(state, {"mqtt": {"host": mosquitto.host, "port": mosquitto.port, "node": "porch"}})
    home = HomeAssistant(python, tmp_path / "home", mosquitto)

    def becomes(entity: str, expected: str | None) -> None:
        def is_so() -> bool:
            return home.states().get(entity) == expected

        until(is_so, PATIENCE_S)

    with Listener(mosquitto) as anyone:

        def forget(camera: str) -> None:
            anyone.publish("lastlayer/porch/command/forget", {"camera": camera})
            anyone.wait_for("lastlayer/porch/answer", lambda said: said["ok"] and said["camera"] == camera)

        with home:
            with board:
                for payload in china:
                    board.ask("POST", "/v1/frames?camera=front%20door", payload)
                    board.ask("POST", "/v1/frames?camera=gate", payload)
                becomes(FRONT_DOOR, "china")
                becomes(GATE, "china")
                until(lambda: DECODE in home.states(), PATIENCE_S)
            becomes(FRONT_DOOR, "unavailable")
            with board:
                becomes(FRONT_DOOR, "china")
        with board:  # and no frame comes
            with home:
                becomes(FRONT_DOOR, "china")
                assert home.states()[DECODE] != "unavailable"
                board.ask("POST", "/v1/frames?camera=front%20door", flower[0])
                anyone.wait_for("lastlayer/porch/result", lambda said: said["label"] == "flower")
                assert home.states()[FRONT_DOOR] == "china", "one frame changes nothing, after a restart either"
                forget("front door")
                becomes(FRONT_DOOR, None)
                assert home.states()[GATE] == "china"
                assert not home.complaints
            forget("gate")
            with home:  # that was not there to hear it
                becomes(GATE, None)
                assert FRONT_DOOR not in home.states()
                assert not home.complaints


GATE_YARD, IS_FLOWER = "sensor.lastlayer_porch_gate_yard", "binary_sensor.lastlayer_porch_gate_yard"
LEFT, RIGHT = (f"sensor.lastlayer_porch_spaces_{name}" for name in ("left", "right"))


def test_views_of_tasks_are_there_with_all_that_they_can_be_until_the_configuration_names_them_no_more(
    python: Path, state: Path, mosquitto: Mosquitto, photographs: list[np.ndarray], tmp_path: Path
) -> None:
    for task in ("gate", "spaces"):
        shutil.copytree(state, state / "tasks" / task, ignore=shutil.ignore_patterns("tasks"))
    china, flower = (crops(photograph, 5, seed=3) for photograph in photographs)
    both = [
        encoded(np.hstack([photograph[top : top + 160, top : top + 160] for photograph in photographs]), "JPEG")
        for top in range(0, 100, 20)
    ]
    left, right = ({"camera": "street", "name": n, "region": [x, 0, 0.5, 1]} for n, x in (("left", 0), ("right", 0.5)))
    gate, spaces = {"views": [{"camera": "yard"}], "on": "flower"}, {"views": [left, right]}
    home = HomeAssistant(python, tmp_path / "home", mosquitto)

    def board(**settings: Any) -> Daemon:
        return Daemon(state, {"mqtt": {"host": mosquitto.host, "port": mosquitto.port, "node": "porch"}, **settings})

    def become(**expected: str | None) -> None:
        names = {"gate": GATE_YARD, "on": IS_FLOWER, "left": LEFT, "right": RIGHT, "door": FRONT_DOOR}

        def are_so() -> bool:
            states = home.states()
            return {name: states.get(names[name]) for name in expected} == expected

        try:
            until(are_so, PATIENCE_S)
        except AssertionError:
            raise AssertionError(f"{expected} never was: {home.states()}\n{home.log}") from None

    def push(daemon: Daemon, camera: str, payloads: list[bytes]) -> None:
        for payload in payloads:
            daemon.ask("POST", f"/v1/frames?camera={camera}", payload)

    with home:
        with board() as daemon:  # as it was before there were tasks
            push(daemon, "front%20door", china)
            become(door="china")
            assert home.attributes(FRONT_DOOR)["options"] == ["china", "flower", "unknown"]
        with board(tasks={"gate": gate, "spaces": spaces}) as daemon:
            become(door=None, gate="unknown", on="unknown", left="unknown", right="unknown")
            assert not {"sensor.lastlayer_porch_head", "button.lastlayer_porch_retrain"} & home.states().keys()
            assert home.states()["sensor.lastlayer_porch_head_gate"] == "1"
            push(daemon, "yard", china)
            push(daemon, "street", both)
            become(gate="china", on="off", left="china", right="flower")
            push(daemon, "yard", flower)
            become(gate="flower", on="on")
            said = home.attributes(GATE_YARD)
            assert (said["device_class"], said["options"]) == ("enum", ["china", "flower", "unknown"])
            assert said["probability"] == home.attributes(IS_FLOWER)["probability"] > 0.5
            assert said["last_known"] == "flower"
            since = said["since_ms"]
        become(gate="unavailable", on="unavailable", left="unavailable")
        sure = {"tasks": {"gate": {**gate, "debounce": {"agree": 1, "of": 1, "min_probability": 1}}}}
        sure["tasks"]["spaces"] = {"views": [left]}
        with board(**sure) as daemon:
            become(gate="flower", on="on", left="china", right=None)
            assert home.attributes(GATE_YARD)["since_ms"] == since, "a restart changes nothing"
            push(daemon, "yard", both)
            become(gate="unknown", on="unknown")
            said = home.attributes(GATE_YARD)
            assert (said["last_known"], said["probability"]) == ("flower", None)
            assert said["since_ms"] > since
        assert not home.complaints
    quick = {**gate, "debounce": {"agree": 1, "of": 1}}
    with board(tasks={"gate": quick, "spaces": spaces}) as daemon, home:
        become(gate="unknown", on="unknown", left="china", right="unknown")
        push(daemon, "yard", china)
        become(gate="china", on="off")
        lamp = [encoded(np.full((160, 160, 3), grey, np.uint8), "JPEG") for grey in range(100, 200, 10)]
        for payload in lamp:
            daemon.ask("POST", "/v1/frames?camera=yard&task=gate&label=lamp&new=1", payload)
        daemon.ask("POST", "/v1/retrain?task=gate", expect=202)
        until(lambda: daemon.ask("GET", "/v1/retrain?task=gate")["state"] == "done", PATIENCE_S)
        daemon.ask("POST", "/v1/heads/2/activate?task=gate&force=1")
        push(daemon, "yard", lamp[:1])
        become(gate="lamp", on=None)
        assert home.attributes(GATE_YARD)["options"] == ["china", "flower", "lamp", "unknown"]
        daemon.ask("POST", "/v1/heads/1/activate?task=gate")
        push(daemon, "yard", flower)
        become(gate="flower", on="on")
        assert not home.complaints
    with board(tasks={"gate": {"views": [{"camera": "drive"}]}}), home:  # which was not there to hear it
        become(gate=None, on=None, left=None, right=None)
        assert "sensor.lastlayer_porch_gate_drive" in home.states()
        assert not home.complaints


def test_the_automations_are_triggered_by_what_a_view_shows_and_by_what_it_cannot_tell(
    python: Path, state: Path, mosquitto: Mosquitto, photographs: list[np.ndarray], tmp_path: Path
) -> None:
    automations = yaml.safe_load(AUTOMATIONS.read_text("utf-8"))
    for automation in automations:
        for trigger in automation["triggers"]:
            del trigger["for"]  # nobody waits an hour
    left_open, unknown = (f"automation.{slug(each['alias'])}" for each in automations)
    china, flower = (crops(photograph, 5, seed=3) for photograph in photographs)
    task = {"views": [{"camera": "yard"}], "on": "flower"}
    shutil.copytree(state, tmp_path / "board" / "tasks" / "gate")
    home = HomeAssistant(python, tmp_path / "home", mosquitto, automation=automations)

    def board(**debounce: float) -> Daemon:
        config = {"mqtt": {"host": mosquitto.host, "port": mosquitto.port, "node": "porch"}}
        return Daemon(tmp_path / "board", {**config, "tasks": {"gate": {**task, "debounce": debounce}}})

    def triggered(automation: str) -> str | None:
        """When it last was."""
        at: str | None = home.attributes(automation)["last_triggered"]
        return at

    def push(daemon: Daemon, payloads: list[bytes]) -> None:
        for payload in payloads:
            daemon.ask("POST", "/v1/frames?camera=yard", payload)

    with home:
        with board(agree=3, of=5) as daemon:
            push(daemon, china)
            until(lambda: home.states().get(IS_FLOWER) == "off", PATIENCE_S)
            assert triggered(left_open) is None
            push(daemon, flower)
            until(lambda: triggered(left_open), PATIENCE_S)
        with board(agree=1, of=1, min_probability=1) as daemon:
            until(lambda: home.states().get(GATE_YARD) == "flower", PATIENCE_S)
            before = triggered(unknown)  # until it had seen some frames
            push(daemon, [encoded(np.full((160, 160, 3), 99, np.uint8), "JPEG")])
            until(lambda: triggered(unknown) != before, PATIENCE_S)
        assert "automation" not in "".join(line for line in home.log.splitlines() if " ERROR " in line)
