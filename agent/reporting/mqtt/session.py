"""One connection to the MQTT broker, with a paho client of its own. Nothing else in the agent imports paho.

What one connection left unacknowledged cannot turn up, stale, in the next. The caller drives paho's network loop with
`turn`, in one thread; all callbacks come from within it. `publish` is for any thread and writes nothing to the socket.
"""

import contextlib
import socket
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.reporting.mqtt.capabilities import (
    MAX_PACKET_BYTES,
    Capabilities,
    TooLargeError,
    publish_bytes,
    subscribe_bytes,
)
from agent.reporting.mqtt.endpoint import Endpoint
from agent.reporting.mqtt.outbox import Receipt
from agent.reporting.topics import OFFLINE, Topics

MAX_QUEUED = 100  # messages that the broker has not acknowledged yet
QOS = 1  # of what we hear
TURN_S = 1.0

UNSUPPORTED_VERSION = "Unsupported protocol version"

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
        capabilities: Capabilities | None = None,
    ) -> None:
        """`on_open` is called when the broker has let us in, `on_message` with all that `filters` match.

        `capabilities` are what is known of the broker before it says so itself: the last will heeds them.
        """
        self.refusal = ""  # what the broker answered to the login; "" if it took it, or did not answer
        self.refused_for = ""  # the same, as MQTT 5 calls it
        self.opened = False
        self.capabilities = capabilities or Capabilities()
        self.deaf_to: set[str] = set()  # filters that the broker does not let us hear
        self._endpoint = endpoint
        self._filters = filters
        self._on_open = on_open
        self._on_heard = on_message
        self._v5 = v5
        self._max_message_bytes = max_message_bytes
        self._most_bytes = self.capabilities.packet_bytes
        self._reason = ""  # of the end, as paho calls it
        self._by_broker = False  # it gave that reason
        self._code = _OK
        self._under_way: deque[tuple[paho.MQTTMessageInfo, int]] = deque()  # and their sizes, from the first one that
        self._largest_acknowledged = 0  # is not acknowledged on
        self._refused: Counter[str] = Counter()  # messages, by the reason that the broker gave
        self._asked: dict[int | None, str] = {}  # number of a SUBSCRIBE → its filter
        self._client = self._new_client()

    def connect(self) -> None:
        """Raises OSError where nobody is there."""
        properties = None
        if self._v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.MaximumPacketSize = min(self._max_message_bytes, MAX_PACKET_BYTES)
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
        if self._reason == "Keep alive timeout":
            return "stopped answering"
        if self._by_broker:
            return f"closed the connection: {self._reason}"
        if self._code == MQTTErrorCode.MQTT_ERR_CONN_LOST:
            return "closed the connection"
        return f"broke off: {paho.error_string(self._code)}"

    @property
    def is_unanswered(self) -> bool:
        """Whether the broker has answered nothing, neither yes nor no nor rubbish, to the login."""
        silent = self._code in (_OK, MQTTErrorCode.MQTT_ERR_CONN_LOST, MQTTErrorCode.MQTT_ERR_KEEPALIVE)
        return silent and not self.opened and not self.refusal

    @property
    def is_misread(self) -> bool:
        """Whether there was an answer to the login that paho cannot read, such as a limit beyond what it knows."""
        return self._code == MQTTErrorCode.MQTT_ERR_PROTOCOL and not self.opened and not self.refusal

    @property
    def is_silent(self) -> bool:
        """Whether the broker keeps the connection, and has not answered."""
        return self.is_unanswered and self._code == _OK

    @property
    def is_end_for_size(self) -> bool:
        """Whether the broker ended it for a packet that was too large."""
        return self._by_broker and self._reason == "Packet too large"

    def largest(self) -> tuple[int, int]:
        """The sizes of the largest packets that were acknowledged, and that the broker had but did not acknowledge."""
        self._take_acknowledged()
        if not self.capabilities.qos:
            return 0, 0  # what was written may have come, or not
        sent = islice(self._under_way, self.capabilities.in_flight)
        return self._largest_acknowledged, max((size for _, size in sent), default=0)

    def take_refused(self) -> Counter[str]:
        """How many messages the broker refused since the last call, by the reason that it gave."""
        refused, self._refused = self._refused, Counter()
        return refused

    def room(self, topic: str) -> int:
        """How many bytes of payload the broker takes on a topic, without properties."""
        header = publish_bytes(topic, 0, 1, QOS) + 3  # a long payload has a longer length
        return self.capabilities.packet_bytes - header

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, correlation: bytes | None = None
    ) -> Receipt | None:
        """None if too many messages are unacknowledged, or the connection has ended. Raises TooLargeError."""
        properties = None
        if self._v5 and correlation is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = correlation
        qos, length = self.capabilities.qos, 0
        if self._v5:
            length = 1 if properties is None else len(properties.pack())  # type: ignore[no-untyped-call]
        size = publish_bytes(topic, len(payload), length, qos)
        if size > self.capabilities.packet_bytes:
            raise TooLargeError(size, self.capabilities.packet_bytes)
        self._take_acknowledged()
        if len(self._under_way) >= MAX_QUEUED:
            return None
        info = self._client.publish(topic, payload, qos, retain and self.capabilities.retain, properties)
        if info.rc != _OK:
            return None
        self._under_way.append((info, size))
        return info

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
        client.will_set(topics.availability, OFFLINE, self.capabilities.qos, retain=self.capabilities.retain)
        if self._endpoint.username is not None:
            client.username_pw_set(self._endpoint.username, self._endpoint.password)
        if self._endpoint.tls is not None:
            client.tls_set_context(self._endpoint.tls)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        # Without this callback paho writes to the socket in the thread that publishes.
        client.on_socket_register_write = lambda *_: None
        return client

    def _take_acknowledged(self) -> None:
        while self._under_way and self._under_way[0][0].is_published():
            self._largest_acknowledged = max(self._largest_acknowledged, self._under_way.popleft()[1])

    def _on_connect(
        self, client: paho.Client, _u: object, _f: object, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self.refused_for = reason.getName()
            hint = ""
            if self.refused_for in ("Bad user name or password", "Not authorized"):
                hint = "; see mqtt.username and mqtt.password_file"
                if self._endpoint.doubt:
                    hint = f"; {self._endpoint.doubt} (mqtt.username, mqtt.password_file)"
            self.refusal = f"refused the connection: {reason}{hint}"
            return
        self.capabilities = Capabilities.said(properties, self._most_bytes)
        # Its setter wants no connection, as somebody might have sent something over it: here nobody has.
        client._max_inflight_messages = self.capabilities.in_flight
        self.opened = True
        self._subscribe()
        self._on_open()

    def _subscribe(self) -> None:
        """One by one: together they may be too large for the broker."""
        for name in self._filters:
            takes_it = self.capabilities.wildcards or not set(name) & set("+#")
            if not takes_it or subscribe_bytes(name) > self.capabilities.packet_bytes:
                self.deaf_to.add(name)
                continue
            _, number = self._client.subscribe(name, QOS)
            self._asked[number] = name

    def _on_subscribe(
        self, _client: paho.Client, _u: object, mid: int, reasons: list[ReasonCode], _p: Properties | None
    ) -> None:
        name = self._asked.pop(mid, None)
        if name is not None and any(reason.is_failure for reason in reasons):
            self.deaf_to.add(name)

    def _on_publish(
        self, _client: paho.Client, _u: object, _mid: int, reason: ReasonCode, _p: Properties | None
    ) -> None:
        if reason.is_failure:  # only MQTT 5 tells, and never again: it would be no better the next time
            self._refused[reason.getName()] += 1

    def _on_disconnect(
        self, _client: paho.Client, _u: object, flags: paho.DisconnectFlags, reason: ReasonCode, _p: object
    ) -> None:
        """May be called while paho holds its locks: nothing but a note is taken, of the first reason."""
        if not self._reason:
            self._reason, self._by_broker = reason.getName(), flags.is_disconnect_packet_from_server

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
