"""A real mosquitto for tests, and a client that hears what is published."""

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATH = os.pathsep.join(
    (os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin")
)  # Debian's is not for everyone's PATH
PATIENCE_S = 20.0  # generous: the machine may be busy; nothing waits longer than it must


def program(name: str) -> str:
    """Its path. Where it is not installed, the test that wants it is skipped."""
    found = shutil.which(name, path=PATH)
    if found is None:
        pytest.skip(f"{name} is not installed (apt-get install mosquitto)")
    return found


class Mosquitto:
    """A broker on 127.0.0.1; as a context manager it runs within the block. Where it is not installed, the test is
    skipped.

    Keeps its port when it is stopped and started again. Anonymous, unless users maps
    names to passwords; settings are further lines of its configuration. Persists nothing.
    """

    host = "127.0.0.1"

    def __init__(self, folder: Path, users: Mapping[str, str] | None = None, settings: Sequence[str] = ()) -> None:
        self.port = 0  # known once it runs
        self._settings = settings
        self._folder = folder
        self._users = users
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._lines: list[str] = []
        self._news = threading.Condition()

    def __enter__(self) -> "Mosquitto":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def log(self) -> str:
        return "\n".join(self._lines)

    def start(self) -> None:
        """Returns when it accepts connections."""
        for _ in range(1 if self.port else 5):  # a free port may be taken by the time mosquitto wants it
            port = self.port or _free_port()
            self._spawn(port)
            if self.wait_for_log(" running"):
                # It says so just before its loop begins, and a SIGTERM between the two is lost.
                with socket.create_connection((self.host, port)):
                    self.wait_for_log("New connection")
                self.port = port
                return
            self.kill()
        raise RuntimeError(f"mosquitto does not start:\n{self.log}")

    def stop(self) -> None:
        """Ends it in the ordinary way."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """It keeps its connections and says nothing more."""
        self._running.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._running.send_signal(signal.SIGCONT)

    def wait_for_log(self, text: str, timeout: float = PATIENCE_S) -> bool:
        """Whether a line with this text has been logged since the last start; at once false if it has ended."""

        def logged() -> bool:
            return any(text in line for line in self._lines)

        with self._news:
            reader = self._reader
            self._news.wait_for(lambda: logged() or reader is None or not reader.is_alive(), timeout)
            return logged()

    @property
    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None:
            raise RuntimeError("mosquitto is not running")
        return self._process

    def _spawn(self, port: int) -> None:
        config = self._folder / "mosquitto.conf"
        lines = [f"listener {port} {self.host}", "persistence false", "log_dest stderr", "log_type all"]
        if os.geteuid() == 0:
            lines.append("user root")  # else it becomes one who may not read the folder of a test
        if self._users is None:
            lines.append("allow_anonymous true")
        else:
            lines += ["allow_anonymous false", f"password_file {self._password_file(self._users)}"]
        config.write_text("\n".join([*lines, *self._settings]) + "\n")
        self._lines.clear()
        command = [program("mosquitto"), "-c", str(config)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), name="mosquitto-log", daemon=True)
        self._reader.start()

    def _password_file(self, users: Mapping[str, str]) -> Path:
        file = self._folder / "passwords"
        file.touch(mode=0o600)
        for name, password in users.items():
            command = [program("mosquitto_passwd"), "-b", str(file), name, password]
            subprocess.run(command, check=True, capture_output=True)
        return file

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        for line in process.stderr:
            with self._news:
                self._lines.append(line.rstrip())
                self._news.notify_all()
        with self._news:
            self._reader = None
            self._news.notify_all()

    def _end(self, by: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        reader = self._reader
        process.send_signal(by)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if reader is not None:
            reader.join()
        if process.stderr is not None:
            process.stderr.close()


class Listener:
    """A subscriber that remembers what it hears, in order: pairs of topic and payload.

    Payloads are decoded where they are JSON and text where not. Within its block it is
    subscribed; it does not reconnect. It speaks MQTT 3.1.1 unless v5 is said.
    """

    def __init__(
        self,
        broker: Mosquitto,
        topic: str = "lastlayer/#",
        login: tuple[str, str] | None = None,
        *,
        v5: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.correlations: list[bytes | None] = []  # of what was heard, as MQTT 5 has them
        self._news = threading.Condition()
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5 if v5 else paho.MQTTv311)
        if tls is not None:
            self._client.tls_set_context(tls)
        if login is not None:
            self._client.username_pw_set(*login)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._address = (broker.host, broker.port)

    def __enter__(self) -> "Listener":
        self._client.connect(*self._address)
        self._client.loop_start()
        assert self._subscribed.wait(PATIENCE_S), "cannot subscribe"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def wait_for(
        self, topic: str, wanted: Callable[[Any], bool] = lambda _: True, count: int = 1, timeout: float = PATIENCE_S
    ) -> list[Any]:
        """The payloads under a topic that are wanted, once there are at least count of them.

        topic may hold wildcards. Raises AssertionError with all that was heard if time runs out.
        """

        def found() -> list[Any]:
            return [payload for at, payload in self.heard if paho.topic_matches_sub(topic, at) and wanted(payload)]

        with self._news:
            if not self._news.wait_for(lambda: len(found()) >= count, timeout):
                raise AssertionError(f"{len(found())} of {count} on {topic}; heard {self.heard}")
            return found()

    def publish(
        self,
        topic: str,
        payload: bytes | str | Mapping[str, Any] = b"",
        *,
        qos: int = 1,
        retain: bool = False,
        response_topic: str | None = None,
        correlation: bytes | None = None,
    ) -> None:
        """Publish, as anyone could; returns when the broker has it."""
        message = json.dumps(payload) if isinstance(payload, Mapping) else payload
        properties = None
        if response_topic is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.ResponseTopic = response_topic
            properties.CorrelationData = correlation
        self._client.publish(topic, message, qos, retain, properties).wait_for_publish(PATIENCE_S)

    def _on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        payload: Any = message.payload.decode(errors="replace")
        with contextlib.suppress(ValueError, RecursionError):
            payload = json.loads(payload)
        with self._news:
            self.heard.append((message.topic, payload))
            self.correlations.append(getattr(message.properties, "CorrelationData", None))
            self._news.notify_all()


def retained(broker: Mosquitto, topic: str, timeout: float = PATIENCE_S) -> Any:
    """The retained payload of a topic, waiting for it if need be."""
    with Listener(broker, topic) as listener:
        return listener.wait_for(topic, timeout=timeout)[-1]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
