"""One connection to the MQTT broker, with a paho client of its own. Nothing else in the agent imports paho.

What one connection left unacknowledged cannot turn up, stale, in the next. The caller drives paho's network loop with
`turn`, in one thread; all callbacks come from within it. `publish` is for any thread and writes nothing to the socket.
"""

import contextlib
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.reporting.mqtt.endpoint import Endpoint
from agent.reporting.mqtt.outbox import Receipt
from agent.reporting.topics import OFFLINE, Topics

logger = logging.getLogger(__name__)

MAX_QUEUED = 100  # messages that the broker has not acknowledged yet
QOS = 1  # acknowledged: what was dropped can be counted
TURN_S = 1.0

_OK = MQTTErrorCode.MQTT_ERR_SUCCESS


@dataclass(frozen=True, slots=True)
class Message:
    """What somebody published on a topic that we hear."""

    topic: str
    payload: bytes
    retained: bool  # the broker had it before we subscribed
    response_topic: str | None = None  # MQTT 5: where the sender waits for the answer,
    correlation: bytes | None = None  # and what is to be sent with it


class Session:
    def __init__(
        self,
        endpoint: Endpoint,
        filters: Sequence[str],
        on_open: Callable[[], None],
        on_message: Callable[[Message], None],
        *,
        v5: bool,
        max_message_bytes: int,
    ) -> None:
        """`on_open` is called when the broker has let us in, `on_message` with all that `filters` match."""
        self.refusal = ""  # what the broker answered to the login; "" if it took it, or did not answer
        self.refused_version = False
        self.opened = False
        self._endpoint = endpoint
        self._filters = filters
        self._on_open = on_open
        self._on_heard = on_message
        self._v5 = v5
        self._max_message_bytes = max_message_bytes
        self._reasons: list[str] = []
        self._code = _OK
        self._client = self._new_client()

    def connect(self) -> None:
        """Raises OSError where nobody is there."""
        properties = None
        if self._v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.MaximumPacketSize = self._max_message_bytes
        self._client.connect(
            self._endpoint.host, self._endpoint.port, self._endpoint.keepalive_s, properties=properties
        )

    def turn(self) -> bool:
        """Read, write, and call back, for at most TURN_S; false once the connection has ended."""
        self._code = self._client.loop(timeout=TURN_S)
        return self._code == _OK

    @property
    def end(self) -> str:
        """Why the connection ended."""
        if self.refusal:
            return self.refusal
        if "Keep alive timeout" in self._reasons:
            return "stopped answering"
        if self._code == MQTTErrorCode.MQTT_ERR_CONN_LOST:
            return "closed the connection"
        return f"broke off: {paho.error_string(self._code)}"

    @property
    def is_unanswered(self) -> bool:
        """Whether the broker has answered nothing, neither yes nor no nor rubbish, to the login."""
        silent = self._code in (_OK, MQTTErrorCode.MQTT_ERR_CONN_LOST, MQTTErrorCode.MQTT_ERR_KEEPALIVE)
        return silent and not self.opened and not self.refusal

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, correlation: bytes | None = None
    ) -> Receipt | None:
        """None if too many messages are unacknowledged, or the connection has ended."""
        properties = None
        if self._v5 and correlation is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = correlation
        info = self._client.publish(topic, payload, QOS, retain, properties)
        return info if info.rc == _OK else None

    def disconnect(self) -> None:
        """Take leave."""
        self._client.disconnect()

    def hang_up(self) -> None:
        """End the connection under the thread that waits on it."""
        connection = self._client.socket()
        if isinstance(connection, socket.socket):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        connection = self._client.socket()
        if connection is not None:
            connection.close()

    def _new_client(self) -> paho.Client:
        topics = Topics(self._endpoint.node)
        # A second connection of the same id ends the first, and with it the last will that would come late.
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            f"lastlayer-{self._endpoint.node}",
            protocol=paho.MQTTv5 if self._v5 else paho.MQTTv311,
            reconnect_on_failure=False,
        )
        client.max_queued_messages_set(MAX_QUEUED)
        client.will_set(topics.availability, OFFLINE, QOS, retain=True)
        if self._endpoint.username is not None:
            client.username_pw_set(self._endpoint.username, self._endpoint.password)
        if self._endpoint.tls is not None:
            client.tls_set_context(self._endpoint.tls)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        # May be called while paho holds its locks: nothing but a note is taken.
        client.on_disconnect = lambda _c, _u, _f, reason, _p: self._reasons.append(reason.getName())
        # Without this callback paho writes to the socket in the thread that publishes.
        client.on_socket_register_write = lambda *_: None
        return client

    def _on_connect(
        self, client: paho.Client, _u: object, _f: object, reason: ReasonCode, _p: Properties | None
    ) -> None:
        if reason.is_failure:
            name = reason.getName()
            self.refused_version = name == "Unsupported protocol version"
            hint = ""
            if name in ("Bad user name or password", "Not authorized"):
                hint = "; see mqtt.username and mqtt.password_file"
            self.refusal = f"refused the connection: {reason}{hint}"
            return
        self.opened = True
        if self._filters:
            if self._v5:
                client.subscribe([(name, SubscribeOptions(qos=QOS)) for name in self._filters])
            else:
                client.subscribe([(name, QOS) for name in self._filters])
        self._on_open()

    def _on_subscribe(
        self, _client: paho.Client, _u: object, _mid: int, reasons: list[ReasonCode], _p: Properties | None
    ) -> None:
        deaf = [name for name, reason in zip(self._filters, reasons, strict=False) if reason.is_failure]
        if deaf:
            logger.warning("the MQTT broker %s does not let us hear %s", self._endpoint, ", ".join(deaf))

    def _on_publish(
        self, _client: paho.Client, _u: object, _mid: int, reason: ReasonCode, _p: Properties | None
    ) -> None:
        if reason.is_failure:  # only MQTT 5 tells, and never again: it would be no better the next time
            logger.debug("the MQTT broker %s refused a message: %s", self._endpoint, reason)

    def _on_message(self, _client: paho.Client, _u: object, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:  # a broker that lets such topics through
            return
        properties = message.properties
        self._on_heard(
            Message(
                topic,
                bytes(message.payload),
                message.retain,
                getattr(properties, "ResponseTopic", None),
                getattr(properties, "CorrelationData", None),
            )
        )
