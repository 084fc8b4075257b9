"""The processes of the demo: a broker and the daemon, on free ports of the loopback."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from agent.board.child import environment
from agent.errors import LastlayerError, ServiceError

HOST = "127.0.0.1"
NODE = "demo"
READY_S = 60.0  # on a slow and busy board
STOP_S = 10.0
PAUSE_S = 0.02  # between two looks
BROKERS = ("mosquitto", "embedded")

_EMBEDDED_NAME = "amqtt (embedded)"
# Debian's mosquitto is not on the PATH of ordinary users.
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"))

T = TypeVar("T")


@dataclass(frozen=True)
class Program:
    """One that runs; what it says goes into files, which are shown where it fails."""

    name: str
    process: subprocess.Popen[bytes]
    stdout: Path
    log: Path  # its stderr

    def until(self, look: Callable[[], T | None], timeout: float, what: str) -> T:
        """What `look` finds, as soon as it finds something.

        Raises ServiceError after `timeout` seconds; where the process has ended,
        LastlayerError with its last words and its exit code.
        """
        deadline = time.monotonic() + timeout
        pause = threading.Event()
        while (found := look()) is None:
            if self.process.poll() is not None:
                raise self.ended()
            if time.monotonic() > deadline:
                raise ServiceError(f"{what} took the {self.name} more than {timeout:g} s; it said last: {self._said()}")
            pause.wait(PAUSE_S)
        return found

    def ended(self) -> LastlayerError:
        """What is to be raised when the process has ended though nobody stopped it."""
        error = LastlayerError(f"the {self.name} ended: {self._said()}")
        if self.process.returncode > 0:
            error.exit_code = self.process.returncode
        return error

    def _said(self) -> str:
        lines = self.log.read_text("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"nothing, exit code {self.process.returncode}"


@contextmanager
def running(name: str, command: list[str], folder: Path) -> Iterator[Program]:
    """A process that is stopped when the `with` ends, and with it what it has started itself."""
    stdout, log = folder / f"{name}.out", folder / f"{name}.log"
    process: subprocess.Popen[bytes] | None = None
    try:
        with stdout.open("wb") as out, log.open("wb") as err, _interruption_put_off():
            # In a session of its own, Ctrl-C reaches the demo alone, and everything ends in its turn.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment(), start_new_session=True
            )
        yield Program(name, process, stdout, log)
    finally:
        if process is not None:
            _stop(process)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def _interruption_put_off() -> Iterator[None]:
    """A signal that comes within the block acts at its end: in the middle, a process would go on that nobody knows."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


@contextmanager
def running_broker(kind: str | None, folder: Path) -> Iterator[tuple[str, int]]:
    """An MQTT broker that accepts connections: its name and port. Raises ServiceError where there is none to start.

    `kind` is one of BROKERS; None takes mosquitto where it is installed.
    """
    mosquitto = shutil.which("mosquitto", path=_PATH)
    if kind == "mosquitto" and mosquitto is None:
        raise ServiceError("mosquitto is not installed: install it, or leave --broker out")
    embedded = kind == "embedded" or mosquitto is None
    if embedded and importlib.util.find_spec("amqtt") is None:
        raise ServiceError("there is no MQTT broker to start: install mosquitto, or the extra `demo` of lastlayer")
    start = _embedded if mosquitto is None or embedded else lambda port, at: _mosquitto(mosquitto, port, at)
    with ExitStack() as stack:
        for attempt in range(3):
            port = _free_port()
            broker = stack.enter_context(running("broker", start(port, folder), folder))
            try:
                broker.until(lambda port=port: _accepts(port), READY_S, "starting")  # type: ignore[misc]
                break
            except LastlayerError:  # somebody else may have taken the port in between
                if attempt == 2:
                    raise
        yield _EMBEDDED_NAME if embedded else "mosquitto", port


@contextmanager
def running_daemon(
    broker_port: int, backbone: str | None, input_range: tuple[float, float] | None, folder: Path
) -> Iterator[tuple[Program, Callable[[], str]]]:
    """The daemon, on its way, and what waits until it listens and gives its URL.

    State, configuration and log are in `folder`. The URL's call raises LastlayerError if the daemon ends.
    """
    config = folder / "config.yaml"
    sections = {
        "backbone": backbone,
        "http": {"host": HOST, "port": 0},
        "mqtt": {"host": HOST, "port": broker_port, "node": NODE},
        "report": {"window_s": 1},
    }
    config.write_text(yaml.safe_dump(sections), "utf-8")
    options = ["--state", str(folder / "state")]
    if input_range is not None:
        options += ["--input-range", *map(str, input_range)]
    command = [sys.executable, "-m", "agent", *options, "run", "--config", str(config), "--json"]
    with running("daemon", command, folder) as daemon:
        yield daemon, lambda: daemon.until(lambda: _first_line(daemon.stdout), READY_S, "starting")["http"]


def _mosquitto(program: str, port: int, folder: Path) -> list[str]:
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} {HOST}\nallow_anonymous true\npersistence false\nlog_dest stderr\n", "utf-8")
    return [program, "-c", str(config)]


def _embedded(port: int, folder: Path) -> list[str]:
    config = folder / "amqtt.yaml"
    settings = {
        "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    config.write_text(yaml.safe_dump(settings), "utf-8")
    return [sys.executable, "-m", "amqtt.scripts.broker_script", "-c", str(config)]


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _accepts(port: int) -> bool | None:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return None
    return True


def _first_line(stdout: Path) -> dict[str, Any] | None:
    line, newline, _ = stdout.read_text("utf-8").partition("\n")
    return json.loads(line) if newline else None
