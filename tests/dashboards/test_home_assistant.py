"""The Home Assistant dashboard, whose entities a real board announces; and a real Home Assistant that hears of them."""

import json
import re
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
from tests.conftest import crops
from tests.daemon import PATIENCE_S, ROOT, Daemon
from tests.dashboards.home_assistant import HomeAssistant, environment, installed
from tests.mosquitto import Listener, Mosquitto
from tests.waiting import until

pytestmark = pytest.mark.dashboards

CHECK = Path(__file__).with_name("home_assistant_check.py")
DASHBOARD = ROOT / "examples" / "dashboards" / "home-assistant.yaml"
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
