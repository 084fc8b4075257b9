"""Home Assistant's device discovery: one retained message that says what the board is and which entities it has.

Where a broker does not take that as one, each entity has a message of its own, which names the device.

https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import agent
from agent.reporting.topics import Topics, ViewName

_Component = dict[str, Any]
Kind = Literal["state", "on", "head", "retrain", "rollback"]


class Entity(NamedTuple):
    """One that comes and goes with the configuration and the cameras: of a view its state, and whether that is the one
    that means on; of a task its head, and the buttons for retraining and rollback."""

    kind: Kind
    task: str = ""  # "" where the configuration names none
    name: str = ""  # of the view, or camera

    @classmethod
    def checked(cls, kind: str, task: str, name: str) -> "Entity":
        """Raises ValueError for a kind that there is not."""
        for known in get_args(Kind):
            if kind == known:
                return cls(known, task, name)
        raise ValueError(f"there is no entity {kind[:20]!r}")

    @property
    def platform(self) -> str:
        return {"on": "binary_sensor", "retrain": "button", "rollback": "button"}.get(self.kind, "sensor")

    @property
    def key(self) -> str:
        if self.kind == "state" and not self.task:
            return f"camera_{_identifier(self.name)}"
        if self.kind in ("state", "on"):
            return f"{'view' if self.kind == 'state' else 'on'}_{_identifier(f'{self.task}/{self.name}')}"
        kind = f"button_{self.kind}" if self.platform == "button" else self.kind
        return f"{kind}_{_identifier(self.task)}" if self.task else kind

    def retained(self, topics: Topics) -> str | None:
        """The topic that it alone is for, and where something is retained."""
        if self.kind == "state":
            return topics.state(ViewName(self.task, self.name))
        return topics.head_of(self.task) if self.kind == "head" else None


UNNAMED = tuple(Entity(kind) for kind in ("head", "retrain", "rollback"))  # those of a board without tasks

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
    topics: Topics,
    entities: Mapping[Entity, Sequence[str]],
    phases: Iterable[str],
    leaving: Iterable[Entity] = (),
) -> dict[str, Any]:
    """The board and its entities: what each view shows, how long each phase takes, how it is, what can be done.

    With each of the `entities` come the labels that it tells apart: with a state all that it can be, none where that
    is not known; with one that is on or off these two, in this order, or none either. Those that are `leaving` are
    named by their platform alone, by which Home Assistant removes them.
    """
    device = device_id(topics.node)
    ours = {entity.key: _component(topics, entity, labels) for entity, labels in entities.items()}
    components = {**_answers(topics), **ours, **_phases(topics, phases), **_diagnostics(topics)}
    removed = {entity.key: {"platform": entity.platform} for entity in leaving}
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


def _answers(topics: Topics) -> dict[str, _Component]:
    return {
        "result": {
            **_sensor("Last result", topics.result, "{{ value_json.label | default('unknown', true) }}"),
            "icon": "mdi:image-search",
            "json_attributes_topic": topics.result,
            "force_update": True,
        },
        "retrain": {
            **_sensor("Retraining", topics.retrain, "{{ value_json.state }}"),
            "icon": "mdi:school",
            "json_attributes_topic": topics.retrain,
        },
    }


def _component(topics: Topics, entity: Entity, labels: Sequence[str]) -> _Component:
    """Its name has that of the task where there is one."""
    task = entity.task
    if entity.kind == "retrain":
        return _button(topics, "retrain", f"Retrain {task}".strip(), "mdi:school", task)
    if entity.kind == "rollback":
        title = f"Return {task} to the head before" if task else "Return to the head before"
        return _button(topics, "rollback", title, "mdi:undo", task)
    if entity.kind == "head":
        topic = topics.head_of(task)
        head = _sensor(f"Head {task}".strip(), topic, "{{ value_json.version }}")
        return {**head, "icon": "mdi:brain", "json_attributes_topic": topic}
    name, topic = f"{task} {entity.name}".strip(), topics.state(ViewName(task, entity.name))
    if entity.kind == "on":
        return _on_or_off(name, topic, *(labels or ("", "")))
    return {
        **_sensor(name, topic, "{{ value_json.state }}"),
        "device_class": "enum",
        **({"options": list(labels)} if labels else {}),
        "icon": "mdi:cctv",
        "json_attributes_topic": topic,
    }


def _button(topics: Topics, command: str, name: str, icon: str, task: str) -> _Component:
    return {
        "platform": "button",
        "name": name,
        "command_topic": topics.command(command),
        "payload_press": json.dumps({"task": task} if task else {}),
        "icon": icon,
    }


def _on_or_off(name: str, topic: str, on: str, off: str) -> _Component:
    """None is what Home Assistant takes for unknown."""
    is_on, is_off = (f"value_json.state == {json.dumps(label, ensure_ascii=False)}" for label in (on, off))
    return {
        "platform": "binary_sensor",
        "name": name,
        "state_topic": topic,
        "value_template": f"{{{{ 'ON' if {is_on} else 'OFF' if {is_off} else 'None' }}}}",
        "json_attributes_topic": topic,
    }


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


def _sensor(name: str, topic: str, template: str) -> _Component:
    return {"platform": "sensor", "name": name, "state_topic": topic, "value_template": template}


def _identifier(text: str) -> str:
    """Letters, digits, _ and -; where that loses something, a checksum tells different texts apart."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", text)
    return plain if plain == text else f"{plain[:40]}_{zlib.crc32(text.encode()):08x}"
