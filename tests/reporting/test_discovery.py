import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.reporting.discovery import (
    UNNAMED,
    Entity,
    device_id,
    discovery_parts,
    discovery_payload,
    discovery_topic,
)
from agent.reporting.topics import Topics

SCHEMA = json.loads(Path(__file__).with_name("home_assistant_device.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
PHASES = ("decode", "bottleneck", "session_run")


def payload(node: str = "porch", cameras: tuple[str, ...] = ("door", "a/b #1+%")) -> dict[str, Any]:
    entities = [*UNNAMED, *(Entity("state", "", camera) for camera in cameras)]
    return discovery_payload(Topics(node), dict.fromkeys(entities, ("cat", "dog", "unknown")), PHASES)


def with_tasks(views: Sequence[tuple[str, str]] = (("gate", "yard"), ("spaces", "left #1"))) -> dict[str, Any]:
    entities: dict[Entity, Sequence[str]] = {}
    for task, view in views:
        entities |= {unnamed._replace(task=task): () for unnamed in UNNAMED}
        entities |= {Entity("state", task, view): ["open", "closed", "unknown"]}
        entities |= {Entity("on", task, view): ["open", "closed"]}
    return discovery_payload(Topics("porch"), entities, PHASES)


def test_it_is_what_home_assistant_documents() -> None:
    VALIDATOR.check_schema(SCHEMA)
    for said in (payload(), with_tasks()):
        VALIDATOR.validate(json.loads(json.dumps(said)))


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
        (("components", "camera_door", "options"), "null"),
        (("components", "camera_door", "device_class"), None),
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
    gone = [Entity("state", "", "gate"), Entity("state", "", "front door"), Entity("on", "gate", "yard")]
    said = discovery_payload(Topics("porch"), {Entity("state", "", "door"): ()}, PHASES, leaving=gone)
    assert said["components"]["camera_gate"] == {"platform": "sensor"}
    assert said["components"][gone[2].key] == {"platform": "binary_sensor"}
    assert len(said["components"]["camera_door"]) > 1
    key = gone[1].key
    parts = discovery_parts("homeassistant", "porch", said)
    assert parts[f"homeassistant/sensor/lastlayer_porch/{key}/config"] == {}
    assert parts[f"homeassistant/binary_sensor/lastlayer_porch/{gone[2].key}/config"] == {}
    assert parts["homeassistant/sensor/lastlayer_porch/camera_door/config"]["device"] == said["device"]


def test_a_camera_keeps_the_id_that_it_had_before_it_said_what_it_can_be() -> None:
    door = payload()["components"]["camera_door"]
    assert door["unique_id"] == "lastlayer_porch_camera_door"
    assert (door["name"], door["state_topic"]) == ("door", "lastlayer/porch/camera/door/state")
    assert (door["device_class"], door["options"]) == ("enum", ["cat", "dog", "unknown"])


def test_of_what_is_not_known_no_options_are_said() -> None:
    said = discovery_payload(Topics("porch"), {Entity("state", "", "door"): ()}, ())
    assert said["components"]["camera_door"]["device_class"] == "enum"
    assert "options" not in said["components"]["camera_door"]


def test_a_view_is_called_by_its_task_and_its_name_and_has_its_state_as_attributes() -> None:
    components = with_tasks()["components"]
    yard = components[Entity("state", "gate", "yard").key]
    assert (yard["name"], yard["options"]) == ("gate yard", ["open", "closed", "unknown"])
    assert yard["state_topic"] == yard["json_attributes_topic"] == "lastlayer/porch/task/gate/yard/state"
    is_open = components[Entity("on", "gate", "yard").key]
    assert (is_open["platform"], is_open["name"]) == ("binary_sensor", "gate yard")
    assert is_open["state_topic"] == is_open["json_attributes_topic"] == yard["state_topic"]


def test_each_task_has_a_head_and_buttons_of_its_own() -> None:
    components = with_tasks()["components"]
    heads = {key: said["state_topic"] for key, said in components.items() if key.startswith("head")}
    assert heads == {f"head_{task}": f"lastlayer/porch/task/{task}/head" for task in ("gate", "spaces")}
    presses = {key: json.loads(said["payload_press"]) for key, said in components.items() if key.startswith("button")}
    asked = {f"button_{what}_{task}": {"task": task} for what in ("retrain", "rollback") for task in ("gate", "spaces")}
    assert presses == asked
    plain = payload()["components"]
    assert plain["button_retrain"]["payload_press"] == plain["button_rollback"]["payload_press"] == "{}"


NAMES = st.text(min_size=1, max_size=30)


@given(st.lists(st.tuples(NAMES, NAMES), max_size=6, unique=True))
def test_any_names_of_tasks_and_views_are_told_apart(views: list[tuple[str, str]]) -> None:
    said = with_tasks(views)["components"]
    for kind, prefix in (("sensor", "view_"), ("binary_sensor", "on_")):
        entities = [entity for key, entity in said.items() if key.startswith(prefix)]
        assert {entity["platform"] for entity in entities} <= {kind}
        assert len({entity["unique_id"] for entity in entities}) == len(views)
        assert len({entity["state_topic"] for entity in entities}) == len(views)


def test_names_that_run_together_are_told_apart() -> None:
    keys = {Entity("state", task, view).key for task, view in (("a_b", "c"), ("a", "b_c"), ("a", "b/c"))}
    assert len(keys) == 3


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_any_label_means_on_or_off_or_neither(on: str, off: str) -> None:
    jinja2 = pytest.importorskip("jinja2")  # with it Home Assistant reads what it is told
    said = discovery_payload(Topics("porch"), {Entity("on", "gate", "yard"): (on, off)}, ())
    template = said["components"][Entity("on", "gate", "yard").key]["value_template"]
    render = jinja2.Environment(autoescape=False).from_string(template).render
    assert render(value_json={"state": on}) == "ON"
    assert render(value_json={"state": off}) == ("OFF" if off != on else "ON")
    if "unknown" not in (on, off):
        assert render(value_json={"state": "unknown"}) == "None"
