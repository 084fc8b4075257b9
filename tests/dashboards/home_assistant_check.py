"""Home Assistant's own schemas, run on a discovery payload from stdin, by a Python that has the package (2024.12 on).

Prints one line for each entity that it would refuse, and ends with the number of them.
"""

import asyncio
import json
import sys
import tempfile
from typing import Any

import voluptuous as vol
from homeassistant.components.mqtt import binary_sensor, button, sensor
from homeassistant.components.mqtt.schemas import DEVICE_DISCOVERY_SCHEMA
from homeassistant.components.sensor.const import DEVICE_CLASS_STATE_CLASSES, DEVICE_CLASS_UNITS
from homeassistant.core import HomeAssistant
from homeassistant.helpers import frame

PLATFORMS = {"sensor": sensor, "binary_sensor": binary_sensor, "button": button}


def wrong_with(entity: dict[str, Any]) -> str | None:
    platform = entity.pop("platform")
    try:
        PLATFORMS[platform].DISCOVERY_SCHEMA(entity)
    except (vol.Invalid, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    device_class = entity.get("device_class")
    if platform == "sensor" and device_class and device_class != "enum":
        if entity["unit_of_measurement"] not in DEVICE_CLASS_UNITS[device_class]:
            return f"{entity['unit_of_measurement']} is no unit of {device_class}"
        if entity["state_class"] not in DEVICE_CLASS_STATE_CLASSES[device_class]:
            return f"{entity['state_class']} is no state class of {device_class}"
    return None


async def main() -> int:
    payload = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        home = HomeAssistant(folder)
        frame.async_setup(home)
        DEVICE_DISCOVERY_SCHEMA(payload)
        shared = {key: payload[key] for key in ("device", "origin", "availability_topic")}
        refused = 0
        for name, entity in payload["components"].items():
            wrong = wrong_with({**shared, **entity})
            if wrong:
                refused += 1
                sys.stdout.write(f"{name}: {wrong}\n")
        await home.async_stop(force=True)
    return refused


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
