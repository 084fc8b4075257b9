"""The discovery payload before Home Assistant itself, where a Python that has it is named."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent.reporting.discovery import discovery_payload
from agent.reporting.topics import Topics

pytestmark = pytest.mark.slow

CHECK = Path(__file__).with_name("home_assistant_check.py")


def refused(payload: dict[str, Any]) -> str:
    python = os.environ.get("HOME_ASSISTANT_PYTHON")
    if python is None:
        pytest.skip("HOME_ASSISTANT_PYTHON names no Python with the package homeassistant, 2024.12 or newer")
    ended = subprocess.run([python, str(CHECK)], input=json.dumps(payload), capture_output=True, text=True, timeout=300)
    assert ended.returncode == ended.stdout.count("\n"), ended.stderr
    return ended.stdout


def test_home_assistant_takes_every_entity() -> None:
    assert refused(discovery_payload(Topics("Küche 1"), ["door", "a/b #1+%"], ["decode", "bottleneck"])) == ""


def test_the_check_notices_what_is_wrong() -> None:
    payload = discovery_payload(Topics("porch"), [], ["decode"])
    payload["components"]["phase_decode"]["unit_of_measurement"] = "cm"
    payload["components"]["head"]["value_template"] = "{{ value_json."
    assert sorted(line.split(":")[0] for line in refused(payload).splitlines()) == ["head", "phase_decode"]
