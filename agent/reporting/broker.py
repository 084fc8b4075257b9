"""The connection to the MQTT broker.

Its thread drives paho's network loop itself instead of leaving that to loop_start: so it
can wait for the next attempt and be woken out of it, knows why a connection failed, and
outlives whatever a strange broker makes paho raise. Every connection has a paho client of
its own: what one left unacknowledged cannot turn up, stale, in the next.
"""

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.config import MqttConfig
from agent.errors import ConfigError
from agent.reporting.topics import OFFLINE, ONLINE, Topics
from agent.systemd import MQTT_PASSWORD, credential

logger = logging.getLogger(__name__)

MAX_QUEUED = 100  # messages that the broker has not acknowledged yet
FIRST_DELAY_S = 0.25  # before the second attempt; doubles up to the longest
LONGEST_DELAY_S = 30.0
MAX_PASSWORD_BYTES = 65_535  # what MQTT can carry
QOS = 1  # acknowledged: what was dropped can be counted


class Broker:
    """Publishes as one node, from any thread, without ever blocking the caller.

    Retained messages are state: the latest of each topic is published again on every
    connect. All others are dropped, and counted, while there is no broker or it is
    slower than they come.
    """

    def __init__(self, mqtt: MqttConfig) -> None:
        """Raises ConfigError if no broker is configured or the password cannot be read."""
        if mqtt.host is None:
            raise ConfigError("mqtt.host: is not set, so there is no broker to report to")
        self.topics = Topics(mqtt.node)
        self._host = mqtt.host
        self._mqtt = mqtt
        self._password = _password(mqtt)
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._stopping = threading.Event()
        # Taken before paho's locks, never within them; on_connect holds none that publishing needs.
        self._state = threading.Condition()
        self._client: paho.Client | None = None
        self._connected = False
        self._retained: dict[str, bytes] = {}
        self._owed: set[str] = set()  # retained topics that the connected broker does not have yet
        self._unacknowledged: list[paho.MQTTMessageInfo] = []  # without the retained ones
        self._farewell: paho.MQTTMessageInfo | None = None
        self._dropped = 0
        self._last_error: str | None = None
        self._refusal = ""  # what the broker of this connection answered to the login; "" if it took it

    @property
    def connected(self) -> bool:
        return self._connected

    @property
    def last_error(self) -> str | None:
        """Why there is no connection; None while there is one, and before the first attempt."""
        return self._last_error

    @property
    def dropped(self) -> int:
        """Messages that were not, or not provably, published; state does not count."""
        return self._dropped

    def start(self) -> None:
        """Connects in the background, and again whenever the connection is lost."""
        self._thread.start()

    def wait_connected(self, timeout: float) -> bool:
        """Whether there is a connection, at the latest after so many seconds."""
        with self._state:
            return self._state.wait_for(lambda: self._connected, timeout)

    def publish(self, topic: str, payload: Mapping[str, Any], retain: bool = False) -> bool:
        """Sends a JSON object; True if it is on its way, or kept until there is a connection."""
        try:
            message = json.dumps(payload, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
            if not topic or set(topic) & set("+#\0"):
                raise ValueError("this is no topic")
        except (TypeError, ValueError) as error:
            logger.error("cannot publish on %s: %s", topic, error)
            message = None
        with self._state:
            if message is None:
                self._dropped += 1
                return False
            if retain:
                self._retained[topic] = message
                self._owed.add(topic)
                self._send_owed()
                return True
            info = self._send(topic, message, retain=False)
            if info is None:
                self._dropped += 1
                return False
            self._unacknowledged = [i for i in self._unacknowledged if not i.is_published()] + [info]
            return True

    def stop(self, timeout: float) -> None:
        """Says OFFLINE and disconnects; returns within timeout seconds even if the broker is dead."""
        deadline = time.monotonic() + timeout
        with self._state:
            self._farewell = self._send(self.topics.availability, OFFLINE.encode(), retain=True)
            self._stopping.set()
        if not self._thread.is_alive():
            return
        if self._farewell is not None:
            self._thread.join(0.8 * timeout)
        self._hang_up()  # without a disconnect the broker publishes the last will, which says the same
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            logger.warning("gave up on the MQTT broker %s while connecting", self._host)

    def _send(self, topic: str, message: bytes, *, retain: bool) -> paho.MQTTMessageInfo | None:
        """None if it cannot be sent now. To be called with the state locked."""
        if self._client is None or not self._connected or self._stopping.is_set():
            return None
        info = self._client.publish(topic, message, QOS, retain)
        return info if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS else None

    def _send_owed(self) -> None:
        for topic in list(self._owed):
            if self._send(topic, self._retained[topic], retain=True) is None:
                return  # the queue is full: _converse comes back to it
            self._owed.remove(topic)

    def _run(self) -> None:
        delay = FIRST_DELAY_S
        while not self._stopping.is_set():
            began = time.monotonic()
            client = self._new_client()
            try:
                end = self._converse(client)
            except OSError as error:
                end = f"cannot be reached: {error.strerror or error}"
            except Exception as error:  # what paho raises at answers that are not MQTT
                logger.debug("the MQTT broker confuses us", exc_info=True)
                end = f"does not speak MQTT: {type(error).__name__}: {error}"
            self._part(client, end)
            # One that accepts and hangs up at once, as when two boards have one name, is not courted every moment.
            if time.monotonic() - began > LONGEST_DELAY_S:
                delay = FIRST_DELAY_S
            self._stopping.wait(delay)
            delay = min(2 * delay, LONGEST_DELAY_S)

    def _new_client(self) -> paho.Client:
        # A second connection of the same id ends the first, and with it the last will that would come late.
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            f"lastlayer-{self.topics.node}",
            protocol=paho.MQTTv311,
            reconnect_on_failure=False,
        )
        client.max_queued_messages_set(MAX_QUEUED)
        client.will_set(self.topics.availability, OFFLINE, QOS, retain=True)
        if self._mqtt.username is not None:
            client.username_pw_set(self._mqtt.username, self._password)
        client.on_connect = self._on_connect
        # Without this callback paho writes to the socket in the thread that publishes.
        client.on_socket_register_write = lambda *_: None
        with self._state:
            self._client = client
        return client

    def _converse(self, client: paho.Client) -> str:
        """Connects and stays until the connection ends; says why it did. Raises OSError if there is none to be had."""
        reasons: list[str] = []
        # May be called while paho holds its locks: nothing but a note is taken.
        client.on_disconnect = lambda _c, _u, _f, reason, _p: reasons.append(reason.getName())
        self._refusal = ""
        client.connect(self._host, self._mqtt.port, self._mqtt.keepalive_s)
        while (ended := client.loop(timeout=1.0)) == MQTTErrorCode.MQTT_ERR_SUCCESS:
            with self._state:
                self._send_owed()
                farewell = self._farewell
            if self._stopping.is_set():
                if farewell is None:
                    break
                if farewell.is_published():
                    client.disconnect()
        if self._refusal:
            return self._refusal
        if "Keep alive timeout" in reasons:
            return "stopped answering"
        if ended == MQTTErrorCode.MQTT_ERR_CONN_LOST:
            return "closed the connection"
        return f"broke off: {paho.error_string(ended)}"

    def _on_connect(
        self, client: paho.Client, _u: object, _f: object, reason: ReasonCode, _p: Properties | None
    ) -> None:
        """Called by paho from within loop, when the broker has answered. The place to subscribe."""
        if reason.is_failure:
            login = reason.getName() in ("Bad user name or password", "Not authorized")
            hint = "; see mqtt.username and mqtt.password_file" if login else ""
            self._refusal = f"refused the connection: {reason}{hint}"
            return
        logger.info("connected to the MQTT broker %s:%d as %s", self._host, self._mqtt.port, self.topics.node)
        with self._state:
            self._connected = True
            self._last_error = None
            self._send(self.topics.availability, ONLINE.encode(), retain=True)
            self._owed = set(self._retained)
            self._send_owed()
            self._state.notify_all()

    def _part(self, client: paho.Client, end: str) -> None:
        """Leaves a connection that has ended; logs why, unless that was wanted or is known."""
        error = f"the MQTT broker {self._host}:{self._mqtt.port} {end}"
        with self._state:
            known = error == self._last_error or self._stopping.is_set()
            self._client = None
            self._connected = False
            self._last_error = None if self._stopping.is_set() else error
            self._dropped += sum(not info.is_published() for info in self._unacknowledged)
            self._unacknowledged.clear()
        connection = client.socket()
        if connection is not None:
            connection.close()
        if not known:
            logger.warning("%s; trying again", error)

    def _hang_up(self) -> None:
        """Ends the connection under the thread that waits on it."""
        with self._state:
            connection = self._client.socket() if self._client else None
        if isinstance(connection, socket.socket):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _password(mqtt: MqttConfig) -> str | None:
    path = mqtt.password_file or credential(MQTT_PASSWORD)
    if path is None:
        return None
    try:
        password = path.read_bytes().removesuffix(b"\n").removesuffix(b"\r").decode()
    except OSError as error:
        raise ConfigError(f"mqtt.password_file: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"mqtt.password_file: {path} is not UTF-8 text") from error
    if len(password.encode()) > MAX_PASSWORD_BYTES:
        raise ConfigError(f"mqtt.password_file: {path} holds more than a password")
    return password
