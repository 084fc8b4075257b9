"""Home Assistant's device discovery: one retained message that says what the board is and which entities it has.

Where a broker does not take that as one, each entity has a message of its own, which names the device.

https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

import re
import zlib
from collections.abc import Iterable
from typing import Any

import agent
from agent.reporting.topics import Topics

_Component = dict[str, Any]

# Of what the topic `host` says: key, what a person calls it, unit, device class, state class.
_HOST: tuple[tuple[str, str, str, str | None, str], ...] = (
    ("cpu_percent", "CPU", "%", None, "measurement"),
    ("temperature_c", "Temperature", "°C", "temperature", "measurement"),
    ("memory_free_bytes", "Free memory", "B", "data_size", "measurement"),
    ("rss_bytes", "Memory of the service", "B", "data_size", "measurement"),
    ("flash_written_bytes", "Written to flash since boot", "B", "data_size", "total_increasing"),
    ("flash_free_bytes", "Free flash", "B", "data_size", "measurement"),
    ("uptime_s", "Uptime of the service", "s", "duration", "total_increasing"),
)
# Of `counters`: key, what a person calls it, state class.
_COUNTERS: tuple[tuple[str, str, str], ...] = (
    ("frames", "Frames", "total_increasing"),
    ("bad_frames", "Bad frames", "total_increasing"),
    ("dropped", "Dropped frames", "total_increasing"),
    ("examples", "Examples", "measurement"),
    ("reports_dropped", "Lost reports", "total_increasing"),
    ("reports_waiting", "Waiting reports", "measurement"),
    ("too_large", "Messages too large for the broker", "total_increasing"),
    ("refused", "Refused commands", "total_increasing"),
)


def device_id(node: str) -> str:
    """Of letters, digits, _ and - only; different for different nodes."""
    return f"lastlayer_{_identifier(node)}"


def discovery_topic(prefix: str, node: str) -> str:
    return f"{prefix}/device/{device_id(node)}/config"


def status_topic(prefix: str) -> str:
    """Where Home Assistant says that it has come online, and wants to hear of everything again."""
    return f"{prefix}/status"


def discovery_payload(
    topics: Topics, cameras: Iterable[str], phases: Iterable[str], leaving: Iterable[str] = ()
) -> dict[str, Any]:
    """The board and its entities: what each camera sees, how long each phase takes, how it is, what can be done.

    Cameras that are `leaving` are named by their platform alone, by which Home Assistant removes them.
    """
    device = device_id(topics.node)
    components = {**_answers(topics, cameras), **_phases(topics, phases), **_diagnostics(topics), **_buttons(topics)}
    removed = {_camera_key(camera): {"platform": "sensor"} for camera in leaving}
    return {
        "device": {
            "identifiers": [device],
            "name": f"Lastlayer {topics.node}",
            "manufacturer": "Lastlayer",
            "model": "A board that learns",
            "sw_version": agent.__version__,
        },
        "origin": {"name": "lastlayer", "sw_version": agent.__version__},
        "availability_topic": topics.availability,
        "components": {
            **removed,
            **{key: {"unique_id": f"{device}_{key}", **component} for key, component in components.items()},
        },
    }


def discovery_parts(prefix: str, node: str, payload: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The same as a `discovery_payload`, entity by entity: topic → what is said there; nothing of what is removed."""
    device = device_id(node)
    shared = {key: value for key, value in payload.items() if key != "components"}
    return {
        f"{prefix}/{component['platform']}/{device}/{key}/config": {
            **{name: value for name, value in component.items() if name != "platform"},
            **shared,
        }
        if len(component) > 1
        else {}
        for key, component in payload["components"].items()
    }


def _answers(topics: Topics, cameras: Iterable[str]) -> dict[str, _Component]:
    components: dict[str, _Component] = {
        "result": {
            **_sensor("Last result", topics.result, "{{ value_json.label | default('unknown', true) }}"),
            "icon": "mdi:image-search",
            "json_attributes_topic": topics.result,
            "force_update": True,
        },
        "head": {
            **_sensor("Head", topics.head, "{{ value_json.version }}"),
            "icon": "mdi:brain",
            "json_attributes_topic": topics.head,
        },
        "retrain": {
            **_sensor("Retraining", topics.retrain, "{{ value_json.state }}"),
            "icon": "mdi:school",
            "json_attributes_topic": topics.retrain,
        },
    }
    for camera in cameras:
        topic = topics.camera_state(camera)
        components[_camera_key(camera)] = {
            **_sensor(camera, topic, "{{ value_json.state }}"),
            "icon": "mdi:cctv",
            "json_attributes_topic": topic,
        }
    return components


def _camera_key(camera: str) -> str:
    return f"camera_{_identifier(camera)}"


def _phases(topics: Topics, phases: Iterable[str]) -> dict[str, _Component]:
    return {
        f"phase_{phase}": {
            **_sensor(f"Phase {phase}", topics.timing(phase), "{{ value_json.mean_ms }}"),
            "device_class": "duration",
            "unit_of_measurement": "ms",
            "state_class": "measurement",
            "suggested_display_precision": 2,
            "json_attributes_topic": topics.timing(phase),
        }
        for phase in phases
    }


def _diagnostics(topics: Topics) -> dict[str, _Component]:
    components: dict[str, _Component] = {}
    for key, name, unit, device_class, state_class in _HOST:
        components[f"host_{key}"] = {
            # What a board does not feel is null there: the state is then unknown.
            **_sensor(name, topics.host, f"{{{{ value_json.{key} }}}}"),
            "entity_category": "diagnostic",
            "unit_of_measurement": unit,
            **({"device_class": device_class} if device_class else {}),
            "state_class": state_class,
        }
    components["host_throttled"] = {
        "platform": "binary_sensor",
        "name": "Throttled",
        "state_topic": topics.host,
        "value_template": "{{ 'ON' if value_json.throttled else 'OFF' }}",
        "device_class": "problem",
        "entity_category": "diagnostic",
    }
    for key, name, state_class in _COUNTERS:
        components[f"counter_{key}"] = {
            **_sensor(name, topics.counters, f"{{{{ value_json.{key} }}}}"),
            "entity_category": "diagnostic",
            "state_class": state_class,
        }
    return components


def _buttons(topics: Topics) -> dict[str, _Component]:
    return {
        f"button_{name}": {
            "platform": "button",
            "name": title,
            "command_topic": topics.command(name),
            "payload_press": "{}",
            "icon": icon,
        }
        for name, title, icon in (
            ("retrain", "Retrain", "mdi:school"),
            ("rollback", "Return to the head before", "mdi:undo"),
        )
    }


def _sensor(name: str, topic: str, template: str) -> _Component:
    return {"platform": "sensor", "name": name, "state_topic": topic, "value_template": template}


def _identifier(text: str) -> str:
    """Letters, digits, _ and -; where that loses something, a checksum tells different texts apart."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", text)
    return plain if plain == text else f"{plain[:40]}_{zlib.crc32(text.encode()):08x}"
