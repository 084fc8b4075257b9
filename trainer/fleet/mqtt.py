"""A board that is reached through the broker that it reports to: for those that no network lets in."""

import json
import queue
import secrets
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from agent.reporting.mqtt.capabilities import MAX_PACKET_BYTES, Capabilities, publish_bytes
from agent.reporting.mqtt.endpoint import Endpoint
from agent.reporting.topics import Topics
from agent.state.parcels import PAGE_EXAMPLES, Page, unpack_page
from trainer.fleet.boards import MAX_ANSWER_BYTES, TIMEOUT_S, Board, BoardError, BoardRefusalError, as_object

QOS = 1


class _OldBrokerError(Exception):
    """A broker that does not speak MQTT 5."""


class MqttBoard(Board):
    """One connection for each exchange: nothing is left behind at the broker when it is over."""

    def __init__(self, address: str, endpoint: Endpoint) -> None:
        """`endpoint.node` is the board's."""
        super().__init__(address)
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
            return self._exchanged(what, payload, v5=True)
        except _OldBrokerError:
            return self._exchanged(what, payload, v5=False)

    def _exchanged(self, what: str, payload: bytes, *, v5: bool) -> bytes:
        key = secrets.token_hex(8)
        heard: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()  # the first one counts
        client = self._client(what, key, payload, heard, v5=v5)
        try:
            client.connect(self._endpoint.host, self._endpoint.port, self._endpoint.keepalive_s)
            client.loop_start()
            answer = heard.get(timeout=TIMEOUT_S)
        except OSError as error:
            raise self._failed(f"cannot be reached: {error.strerror or error}") from error
        except queue.Empty:
            raise BoardError(
                f"{self.address} did not answer within {TIMEOUT_S:g} s: is it there, and does the broker's ACL let "
                f"{self._user} ask and hear?"
            ) from None
        finally:
            client.disconnect()
            client.loop_stop()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _client(
        self, what: str, key: str, payload: bytes, heard: "queue.SimpleQueue[bytes | Exception]", *, v5: bool
    ) -> paho.Client:
        """Asks once it is let in and will hear the answer; whatever comes of it is put into `heard`."""
        client = paho.Client(
            CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5 if v5 else paho.MQTTv311, reconnect_on_failure=False
        )
        if self._endpoint.username is not None:
            client.username_pw_set(self._endpoint.username, self._endpoint.password)
        if self._endpoint.tls is not None:
            client.tls_set_context(self._endpoint.tls)
        question, answer = self._topics.exchange(what, key), self._topics.exchanged(key)
        capabilities = Capabilities()
        opened = False

        def on_connect(client: paho.Client, _u: object, _f: object, reason: ReasonCode, properties: object) -> None:
            nonlocal capabilities, opened
            capabilities, opened = Capabilities.said(properties, MAX_PACKET_BYTES), True
            size = publish_bytes(question, len(payload), int(v5), capabilities.qos)
            if v5 and reason.getName() == "Unsupported protocol version":
                heard.put(_OldBrokerError())
            elif reason.is_failure:
                heard.put(self._failed(f"refused the connection: {reason}"))
            elif size > capabilities.packet_bytes:
                heard.put(self._too_large(size, capabilities.packet_bytes))
            else:
                client.subscribe(answer, QOS)

        def on_subscribe(client: paho.Client, _u: object, _mid: int, reasons: list[ReasonCode], _p: object) -> None:
            if any(reason.is_failure for reason in reasons):
                heard.put(self._failed(f"does not let us hear {answer}: allow it to {self._user} in the broker's ACL"))
            else:
                client.publish(question, payload, capabilities.qos)

        def on_publish(_c: paho.Client, _u: object, _mid: int, reason: ReasonCode, _p: object) -> None:
            if reason.is_failure:  # only MQTT 5 tells
                heard.put(self._failed(f"does not take {question}: {reason}: allow it to {self._user} in its ACL"))

        def on_disconnect(_c: paho.Client, _u: object, _f: object, reason: ReasonCode, _p: object) -> None:
            why = "stopped answering" if reason.getName() == "Keep alive timeout" else "closed the connection"
            before = f"{why} before {self.address} had answered"
            if v5 and not opened:
                heard.put(_OldBrokerError())  # some say nothing to a version that they do not know
            else:
                perhaps = f"perhaps {len(payload)} bytes are more than the broker takes"
                heard.put(self._failed(f"{before}: is it running? then try again; {perhaps}"))

        client.on_connect, client.on_subscribe = on_connect, on_subscribe
        client.on_publish, client.on_disconnect = on_publish, on_disconnect
        client.on_message = lambda _c, _u, message: heard.put(self._bounded(message.payload))
        return client

    def _too_large(self, size: int, most: int) -> BoardError:
        return self._failed(
            f"takes packets of {most} bytes at most, and this one has {size}: raise its limit (max_packet_size in "
            "mosquitto), or reach the board over HTTP"
        )

    def _bounded(self, answer: bytes | bytearray) -> bytes | BoardError:
        if len(answer) > MAX_ANSWER_BYTES:
            return BoardError(f"{self.address} is given up: its answer has more than {MAX_ANSWER_BYTES} bytes")
        return bytes(answer)

    def _failed(self, what: str) -> BoardError:
        return BoardError(f"the MQTT broker {self._endpoint} {what}")

    @property
    def _user(self) -> str:
        return f"the user {self._endpoint.username}" if self._endpoint.username else "clients without a login"

    def _object(self, answer: bytes) -> dict[str, Any]:
        found = as_object(self.address, answer, "ok")
        if not found["ok"]:
            raise BoardRefusalError(f"{self.address}: {found.get('error', 'it does not say why')}")
        return found
