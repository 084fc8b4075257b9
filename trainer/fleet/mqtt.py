"""A board that is reached through the broker that it reports to: for those that no network lets in."""

import json
import queue
import secrets
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.reporting.mqtt.capabilities import MAX_PACKET_BYTES, Capabilities, publish_bytes
from agent.reporting.mqtt.endpoint import Endpoint
from agent.reporting.mqtt.session import UNSUPPORTED_VERSION
from agent.reporting.topics import Topics
from agent.state.parcels import PAGE_EXAMPLES, Page, unpack_page
from trainer.fleet.boards import (
    CONNECT_S,
    MAX_ANSWER_BYTES,
    TIMEOUT_S,
    Board,
    BoardError,
    BoardRefusalError,
    as_object,
    why,
)

QOS = 1


class _OldBrokerError(Exception):
    """A broker that does not speak MQTT 5."""


class MqttBoard(Board):
    """One connection for each exchange: nothing is left behind at the broker when it is over."""

    def __init__(self, address: str, endpoint: Endpoint, task: str | None = None) -> None:
        """`endpoint.node` is the board's."""
        super().__init__(address, task)
        self._endpoint = endpoint
        self._topics = Topics(endpoint.node)

    def page(self, start: str) -> Page:
        question = json.dumps({"start": start, "limit": PAGE_EXAMPLES}).encode()
        answer = self._exchange("examples", question)
        if answer.startswith(b'{"ok":false'):
            self._object(answer)
        return unpack_page(answer)

    def send_head(self, parcel: bytes) -> dict[str, Any]:
        return self._object(self._exchange("head", parcel))

    def send_backbone(self, parcel: bytes) -> dict[str, Any]:
        return self._object(self._exchange("backbone", parcel))

    def _exchange(self, what: str, payload: bytes) -> bytes:
        """The answer. Raises BoardError as soon as it is known that there will be none."""
        try:
            return self._question(what, payload, v5=True).ask()
        except _OldBrokerError:
            return self._question(what, payload, v5=False).ask()

    def _question(self, what: str, payload: bytes, *, v5: bool) -> "_Question":
        key = secrets.token_hex(8)
        topics = self._topics.exchange(what, key, self.task), self._topics.exchanged(key)
        return _Question(self.address, self._endpoint, topics, payload, v5=v5)

    def _object(self, answer: bytes) -> dict[str, Any]:
        found = as_object(self.address, answer, "ok")
        if not found["ok"]:
            raise BoardRefusalError(f"{self.address}: {found.get('error', 'it does not say why')}")
        return found


class _Question:
    """One question over a connection of its own, asked once the broker will let us hear the answer.

    paho's thread calls back; the first thing that it hears is what comes of the question.
    """

    def __init__(self, address: str, endpoint: Endpoint, topics: tuple[str, str], payload: bytes, *, v5: bool) -> None:
        """`topics` are those on which it is asked, and answered."""
        self._address = address
        self._endpoint = endpoint
        self._topic, self._answer_topic = topics
        self._payload = payload
        self._v5 = v5
        self._capabilities = Capabilities()
        self._opened = False
        self._heard: queue.SimpleQueue[bytes | Exception | None] = queue.SimpleQueue()

    def ask(self) -> bytes:
        """The answer. Raises BoardError, and _OldBrokerError; to be called once."""
        client = self._new_client()
        try:
            client.connect(self._endpoint.host, self._endpoint.port, self._endpoint.keepalive_s)
            client.loop_start()
            answer = self._heard.get(timeout=CONNECT_S)
            if answer is None:
                answer = self._heard.get(timeout=TIMEOUT_S)
        except OSError as error:
            raise self._failed(why(error)) from error
        except queue.Empty:
            if not self._opened:
                raise self._failed("does not speak MQTT there: is it the right port?") from None
            raise BoardError(
                f"{self._address} did not answer within {TIMEOUT_S:g} s: is it there, and does the broker's ACL let "
                f"{self._user} ask and hear?"
            ) from None
        finally:
            client.disconnect()
            client.loop_stop()
        assert answer is not None  # once alone, when the broker lets us in
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _new_client(self) -> paho.Client:
        protocol = paho.MQTTv5 if self._v5 else paho.MQTTv311
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=protocol, reconnect_on_failure=False)
        if self._endpoint.username is not None:
            client.username_pw_set(self._endpoint.username, self._endpoint.password)
        if self._endpoint.tls is not None:
            client.tls_set_context(self._endpoint.tls)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        return client

    def _on_connect(
        self, client: paho.Client, _u: object, _f: object, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._opened = True
        self._capabilities = Capabilities.said(properties, MAX_PACKET_BYTES)
        size = publish_bytes(self._topic, len(self._payload), int(self._v5), self._capabilities.qos)
        if self._v5 and reason.getName() == UNSUPPORTED_VERSION:
            self._heard.put(_OldBrokerError())
        elif reason.is_failure:
            doubt = f"; {self._endpoint.doubt}" if self._endpoint.doubt else ""
            self._heard.put(self._failed(f"refused the connection: {reason}{doubt}"))
        elif size > self._capabilities.packet_bytes:
            self._heard.put(self._too_large(size))
        else:
            self._heard.put(None)
            client.subscribe(self._answer_topic, QOS)

    def _on_subscribe(
        self, client: paho.Client, _u: object, _mid: int, reasons: list[ReasonCode], _p: Properties | None
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            unheard = f"does not let us hear {self._answer_topic}"
            self._heard.put(self._failed(f"{unheard}: allow it to {self._user} in the broker's ACL"))
        else:
            client.publish(self._topic, self._payload, self._capabilities.qos)

    def _on_publish(
        self, _client: paho.Client, _u: object, _mid: int, reason: ReasonCode, _p: Properties | None
    ) -> None:
        if reason.is_failure:  # only MQTT 5 tells
            untaken = f"does not take {self._topic}: {reason}"
            self._heard.put(self._failed(f"{untaken}: allow it to {self._user} in its ACL"))

    def _on_message(self, _client: paho.Client, _u: object, message: paho.MQTTMessage) -> None:
        if len(message.payload) > MAX_ANSWER_BYTES:
            most = f"its answer has more than {MAX_ANSWER_BYTES} bytes"
            self._heard.put(BoardError(f"{self._address} is given up: {most}"))
        else:
            self._heard.put(bytes(message.payload))

    def _on_disconnect(
        self, _client: paho.Client, _u: object, _f: paho.DisconnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        if self._v5 and not self._opened:
            self._heard.put(_OldBrokerError())  # some say nothing to a version that they do not know
            return
        why = "stopped answering" if reason.getName() == "Keep alive timeout" else "closed the connection"
        perhaps = f"perhaps {len(self._payload)} bytes are more than the broker takes"
        before = f"{why} before {self._address} had answered"
        self._heard.put(self._failed(f"{before}: is it running? then try again; {perhaps}"))

    def _too_large(self, size: int) -> BoardError:
        return self._failed(
            f"takes packets of {self._capabilities.packet_bytes} bytes at most, and this one has {size}: raise its "
            "limit (max_packet_size in mosquitto), or reach the board over HTTP"
        )

    def _failed(self, what: str) -> BoardError:
        return BoardError(f"the MQTT broker {self._endpoint} {what}")

    @property
    def _user(self) -> str:
        return f"the user {self._endpoint.username}" if self._endpoint.username else "clients without a login"
