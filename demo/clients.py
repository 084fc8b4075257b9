"""The demo's own clients: one that posts pictures over HTTP, one that listens to MQTT."""

import json
import threading
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.errors import ImageError, ServiceError

TIMEOUT_S = 60.0

Message = tuple[str, bytes]  # topic and payload


class HttpClient:
    """One connection to the daemon, for one thread."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._connection = HTTPConnection(address.hostname or "", address.port, timeout=TIMEOUT_S)

    def close(self) -> None:
        self._connection.close()

    def call(self, method: str, path: str, body: bytes = b"") -> Any:
        """The JSON of the reply. Raises ImageError for a picture that is refused, ServiceError for all else."""
        try:
            self._connection.request(method, path, body)
            response = self._connection.getresponse()
            payload = json.loads(response.read())
        except (OSError, HTTPException, ValueError) as error:
            raise ServiceError(f"{method} {path}: no answer from the daemon: {error}") from error
        if response.status == 400:
            raise ImageError(payload["error"])
        if response.status >= 400:
            raise ServiceError(f"{method} {path}: {response.status}: {payload['error']}")
        return payload


class Subscriber:
    """Hears everything below `topic` while the `with` lasts. Owns paho's thread."""

    def __init__(self, host: str, port: int, topic: str) -> None:
        self._heard: list[Message] = []
        self._news = threading.Condition()
        self._subscribed = threading.Event()
        self._address = host, port
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message

    def __enter__(self) -> "Subscriber":
        """Raises ServiceError where the broker does not let us in."""
        host, port = self._address
        try:
            self._client.connect(host, port)
        except OSError as error:
            raise ServiceError(f"the MQTT broker {host}:{port} cannot be reached: {error}") from error
        self._client.loop_start()
        if not self._subscribed.wait(TIMEOUT_S):
            self._client.loop_stop()
            raise ServiceError(f"the MQTT broker {host}:{port} does not answer")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def heard(self) -> list[Message]:
        """All of it so far, in order."""
        with self._news:
            return list(self._heard)

    def wait_for(self, heard_enough: Callable[[list[Message]], bool], timeout: float) -> bool:
        """Whether it was heard within so many seconds."""
        with self._news:
            return self._news.wait_for(lambda: heard_enough(self._heard), timeout)

    def _on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        with self._news:
            self._heard.append((message.topic, bytes(message.payload)))
            self._news.notify_all()
