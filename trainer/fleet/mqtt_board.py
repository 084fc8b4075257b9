"""A board that is reached through the broker that it reports to: for those that no network lets in."""

import json
import queue
import secrets
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.reporting.mqtt.endpoint import Endpoint
from agent.reporting.topics import Topics
from agent.state.parcels import PAGE_EXAMPLES, Page, unpack_page
from trainer.fleet.boards import TIMEOUT_S, Board, BoardError, RefusalError

QOS = 1


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
        key = secrets.token_hex(8)
        heard: queue.SimpleQueue[bytes | BoardError] = queue.SimpleQueue()
        client = self._client()

        def on_connect(client: paho.Client, _u: object, _f: object, reason: Any, _p: object) -> None:
            if reason.is_failure:
                heard.put(BoardError(f"the MQTT broker {self._endpoint} refused the connection: {reason}"))
            else:
                client.subscribe(self._topics.exchanged(key), QOS)

        def on_subscribe(client: paho.Client, _u: object, _mid: int, _reasons: object, _p: object) -> None:
            client.publish(self._topics.exchange(what, key), payload, QOS)

        client.on_connect = on_connect
        client.on_subscribe = on_subscribe
        client.on_message = lambda _c, _u, message: heard.put(bytes(message.payload))
        try:
            client.connect(self._endpoint.host, self._endpoint.port, self._endpoint.keepalive_s)
            client.loop_start()
            answer = heard.get(timeout=TIMEOUT_S)
        except OSError as error:
            reason = error.strerror or error
            raise BoardError(f"the MQTT broker {self._endpoint} cannot be reached: {reason}") from error
        except queue.Empty:
            raise BoardError(f"{self.address} did not answer within {TIMEOUT_S:g} s: is it there?") from None
        finally:
            client.disconnect()
            client.loop_stop()
        if isinstance(answer, BoardError):
            raise answer
        return answer

    def _client(self) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        if self._endpoint.username is not None:
            client.username_pw_set(self._endpoint.username, self._endpoint.password)
        if self._endpoint.tls is not None:
            client.tls_set_context(self._endpoint.tls)
        return client

    def _object(self, answer: bytes) -> dict[str, Any]:
        try:
            found = json.loads(answer)
        except ValueError:
            found = None
        if not isinstance(found, dict) or "ok" not in found:
            raise BoardError(f"{self.address} answers with something else than a board: {answer[:80]!r}")
        if not found["ok"]:
            raise RefusalError(f"{self.address}: {found.get('error')}")
        return found
