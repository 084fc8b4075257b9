"""A real Home Assistant, of the packages in home-assistant/requirements.txt, in the Python of a newer Debian.

That is a folder of Debian's packages whose Python is started by its own loader, as the boards of tests/boards are: no
root, no container, no compiler. Made once, in about a minute, in the cache; made again when its recipe changes.
"""

import json
import os
import platform
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.boards.debian import Packages, UnavailableError, unpack
from tests.dashboards.conftest import CACHE
from tests.mosquitto import Mosquitto

SUITE = "trixie"  # Debian 13: Home Assistant wants Python 3.13
PACKAGES = ("python3", "python3-pip")
HERE = Path(__file__).parent
REQUIREMENTS, START = HERE / "home-assistant" / "requirements.txt", HERE / "home_assistant_start.py"
BUILD_S, RUN_S = 280, 280
ENTRY: dict[str, Any] = {
    "domain": "mqtt",
    "entry_id": "0123456789abcdef0123456789abcdef",
    "title": "broker",
    "source": "user",
    "unique_id": None,
    "version": 1,
    "minor_version": 2,
    "created_at": "2026-01-01T00:00:00+00:00",
    "modified_at": "2026-01-01T00:00:00+00:00",
    "disabled_by": None,
    "pref_disable_new_entities": False,
    "pref_disable_polling": False,
    "discovery_keys": {},
    "subentries": [],
}


def installed() -> Path:
    """The Python that has it. Raises UnavailableError."""
    if platform.machine() != "x86_64":
        raise UnavailableError("Home Assistant is installed for x86-64 only")
    folder = CACHE / "home-assistant"
    root, stamp = folder / "root", folder / "made"
    python = root / "usr" / "bin" / "python3"
    recipe = "\n".join([str(folder), SUITE, *PACKAGES, REQUIREMENTS.read_text()])
    if not stamp.exists() or stamp.read_text() != recipe:
        stamp.unlink(missing_ok=True)
        shutil.rmtree(root, ignore_errors=True)
        unpack(Packages(folder / "packages", "amd64", SUITE).fetch(PACKAGES), root)
        loader, libraries = root / "usr/lib64/ld-linux-x86-64.so.2", root / "usr/lib/x86_64-linux-gnu"
        real = python.resolve()
        python.unlink()
        python.write_text(f'#!/bin/sh\nexec {loader} --argv0 "$0" --library-path {libraries} {real} "$@"\n')
        python.chmod(0o755)
        _install(python)
        stamp.write_text(recipe)
    return python


def _install(python: Path) -> None:
    words = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile", "--requirement"]
    words += [str(REQUIREMENTS), "--break-system-packages", "--no-warn-script-location", "--root-user-action=ignore"]
    try:
        ended = subprocess.run(
            [python, "-m", "pip", *words], capture_output=True, text=True, env=environment(), timeout=BUILD_S
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"pip did not install Home Assistant within {BUILD_S} s") from None
    if ended.returncode:
        said = [line for line in ended.stderr.splitlines() if line.startswith("ERROR")] or ["it says nothing"]
        raise UnavailableError(f"pip cannot install Home Assistant: {said[-1]:.300}")


def environment(**more: str) -> dict[str, str]:
    """For its Python; the variable keeps one of its libraries off the network."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return {**ours, "LITELLM_LOCAL_MODEL_COST_MAP": "True", **more}


class HomeAssistant:
    """It runs within its block, listens to a broker, and remembers what it knows in `folder` for the next time."""

    def __init__(self, python: Path, folder: Path, broker: Mosquitto, **more: Any) -> None:
        """`more` are further keys of its configuration."""
        self._python = python
        self._folder = folder
        self._log = folder / "log"
        storage = folder / ".storage"
        storage.mkdir(parents=True, exist_ok=True)
        home = {"name": "Home", "latitude": 50, "longitude": 10, "country": "DE", "currency": "EUR", "time_zone": "UTC"}
        (folder / "configuration.yaml").write_text(json.dumps({"homeassistant": home, **more}))
        where = {"broker": broker.host, "port": broker.port, "protocol": "5"}
        entry = {**ENTRY, "data": where, "options": {"discovery": True, "discovery_prefix": "homeassistant"}}
        kept = {"version": 1, "minor_version": 5, "key": "core.config_entries", "data": {"entries": [entry]}}
        (storage / "core.config_entries").write_text(json.dumps(kept))

    def __enter__(self) -> "HomeAssistant":
        # timeout: a line that never comes is not waited for.
        command = ["timeout", str(RUN_S), str(self._python), str(START), str(self._folder)]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(HOME=str(self._folder)),
            )
        assert self._read() == "started", self.log
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        code = self._process.wait()
        self._process.stdout.close()
        if kind is None:
            assert code == 0, self.log

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def complaints(self) -> list[str]:
        """What it has to say against what it heard over MQTT."""
        lines = self.log.splitlines()
        return [line for line in lines if ".mqtt" in line and (" WARNING " in line or " ERROR " in line)]

    def states(self) -> dict[str, str]:
        """Of all its entities."""
        return {entity: state for entity, (state, _) in self._known().items()}

    def attributes(self, entity: str) -> dict[str, Any]:
        """What it knows of one beside its state."""
        return self._known()[entity][1]

    def _known(self) -> dict[str, tuple[str, dict[str, Any]]]:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return dict(json.loads(self._read()))

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()
