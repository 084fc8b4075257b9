import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.reporting.discovery import device_id, discovery_parts, discovery_payload, discovery_topic
from agent.reporting.topics import Topics

SCHEMA = json.loads(Path(__file__).with_name("home_assistant_device.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
PHASES = ("decode", "bottleneck", "session_run")


def payload(node: str = "porch", cameras: tuple[str, ...] = ("door", "a/b #1+%")) -> dict[str, Any]:
    return discovery_payload(Topics(node), cameras, PHASES)


def test_it_is_what_home_assistant_documents() -> None:
    VALIDATOR.check_schema(SCHEMA)
    VALIDATOR.validate(json.loads(json.dumps(payload())))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("origin",), None),
        (("origin", "name"), None),
        (("device", "identifiers"), None),
        (("components", "result", "icon"), "null"),
        (("components", "result", "state_topic"), "a/#"),
        (("components", "phase_decode", "unit_of_measurement"), "hours"),
        (("components", "phase_decode", "state_class"), "mean"),
        (("components", "button_retrain", "state_topic"), "a"),
        (("components", "head", "unique_id"), None),
        (("components", "head", "platform"), "sensors"),
    ],
)
def test_the_schema_notices_what_home_assistant_would_refuse(path: tuple[str, ...], value: str | None) -> None:
    spoilt = payload()
    at = spoilt
    for key in path[:-1]:
        at = at[key]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = None if value == "null" else value
    assert not VALIDATOR.is_valid(spoilt)


def test_each_phase_is_a_duration_that_is_measured_in_ms() -> None:
    components = payload()["components"]
    for phase in PHASES:
        sensor = components[f"phase_{phase}"]
        assert (sensor["device_class"], sensor["unit_of_measurement"]) == ("duration", "ms")
        assert (sensor["state_class"], sensor["state_topic"]) == ("measurement", f"lastlayer/porch/timing/{phase}")


def test_the_board_and_its_counters_are_diagnostic_and_there_are_two_buttons() -> None:
    components = payload()["components"]
    diagnostic = {key for key, entity in components.items() if entity.get("entity_category") == "diagnostic"}
    assert diagnostic == {key for key in components if key.startswith(("host_", "counter_"))}
    buttons = {entity["command_topic"] for entity in components.values() if entity["platform"] == "button"}
    assert buttons == {"lastlayer/porch/command/retrain", "lastlayer/porch/command/rollback"}


@given(st.lists(st.text(min_size=1, max_size=60), max_size=8, unique=True), st.text(min_size=1, max_size=30))
def test_any_names_of_cameras_and_boards_are_told_apart(cameras: list[str], name: str) -> None:
    node = re.sub(r"[/+#\0]", "-", name)
    said = payload(node, tuple(cameras))
    assert sum(key.startswith("camera_") for key in said["components"]) == len(cameras)
    assert len({entity["unique_id"] for entity in said["components"].values()}) == len(said["components"])
    topics = {entity["state_topic"] for key, entity in said["components"].items() if key.startswith("camera_")}
    assert len(topics) == len(cameras)
    assert all(topic.count("/") == 4 for topic in topics)
    assert re.fullmatch(r"homeassistant/device/[A-Za-z0-9_-]+/config", discovery_topic("homeassistant", node))


def test_boards_whose_names_look_alike_are_different_devices() -> None:
    assert len({device_id(node) for node in ("Küche", "K_che", "Koche", "Kàche")}) == 4
    assert device_id("porch") == "lastlayer_porch"


def test_a_camera_that_leaves_is_named_by_its_platform_alone() -> None:
    said = discovery_payload(Topics("porch"), ["door"], PHASES, leaving=["gate", "front door"])
    assert said["components"]["camera_gate"] == {"platform": "sensor"}
    assert len(said["components"]["camera_door"]) > 1
    (key,) = (key for key in said["components"] if key.startswith("camera_front_door_"))
    parts = discovery_parts("homeassistant", "porch", said)
    assert parts[f"homeassistant/sensor/lastlayer_porch/{key}/config"] == {}
    assert parts["homeassistant/sensor/lastlayer_porch/camera_door/config"]["device"] == said["device"]
