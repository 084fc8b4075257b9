"""The MQTT face: frames and commands that others publish to this board, and the answers to them.

In the broker's thread messages are only put where two threads of this module find them: `mqtt-frames` classifies the
newest frame of each camera, `mqtt-commands` does what is asked, one after another.
"""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from agent.errors import InputError, LastlayerError
from agent.ingress.encoded import said, unpacked
from agent.ingress.mqtt import exchanging
from agent.ingress.mqtt.commands import Commands
from agent.ingress.mqtt.newest import Newest
from agent.records import MAX_LABEL_BYTES, Frame, Result
from agent.reporting.discovery import status_topic
from agent.reporting.mqtt.broker import Broker
from agent.reporting.mqtt.session import Message
from agent.reporting.topics import from_level, is_topic, now_ms, result_payload
from agent.service import Service

log = logging.getLogger(__name__)

MAX_COMMANDS = 100  # that wait


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A frame that waits."""

    message: Message
    camera: str
    ref: str
    received_ms: int


class MqttSource:
    """Frames and commands from the broker. To be made before the broker is started."""

    def __init__(self, service: Service, broker: Broker, max_bytes: int, discovery_prefix: str | None = None) -> None:
        """`max_bytes` is the size of the largest frame; with `discovery_prefix` Home Assistant is listened to."""
        self._service = service
        self._broker = broker
        self._topics = broker.topics
        self._max_bytes = max_bytes
        self._frames: Newest[_Arrival] = Newest(service.seeing.inbox.capacity)
        self._commands = Commands(service)
        self._work: queue.Queue[Callable[[], object] | None] = queue.Queue(MAX_COMMANDS)
        self._exchanging = threading.Lock()  # parcels are large: one at a time is kept in memory
        self._stopping = False
        self._has_told_of_retained = False
        self._threads = [
            threading.Thread(target=self._see, name="mqtt-frames", daemon=True),
            threading.Thread(target=self._obey, name="mqtt-commands", daemon=True),
        ]
        self._home_assistant = None if discovery_prefix is None else status_topic(discovery_prefix)
        filters = [self._topics.frame("#"), self._topics.label, self._topics.command("+"), self._home_assistant]
        filters += [self._topics.exchange("+", "+"), self._topics.exchange("+", "+/+")]
        broker.hear(filter(None, filters), self._on_message)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float) -> None:
        """What waits is given up; what is being done comes to its end, if it does within so many seconds."""
        self._stopping = True
        self._frames.close()
        with contextlib.suppress(queue.Full):  # then nobody waits for news
            self._work.put_nowait(None)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout / len(self._threads))

    def _on_message(self, message: Message) -> None:
        """Called in the broker's thread."""
        name = message.topic.removeprefix(self._topics.below(""))
        if message.topic == self._home_assistant:
            if message.payload == b"online":
                self._enqueue(self._service.announcer.meet_home_assistant)
        elif message.retained:
            self._refuse_retained(message)
        elif name == "label":
            self._enqueue(partial(self._command, "label", message))
        elif name.startswith("command/"):
            self._enqueue(partial(self._command, name.removeprefix("command/"), message))
        elif name.startswith("exchange/"):
            self._exchange(*name.split("/")[1:], message=message)
        elif name == "frame" or name.startswith("frame/"):
            self._frame(name.split("/")[1:], message)

    def _enqueue(self, work: Callable[[], object], give_up: Callable[[], None] = lambda: None) -> None:
        try:
            self._work.put_nowait(work)
        except queue.Full:
            give_up()
            self._service.announcer.count_refused()
            log.debug("more than %d commands wait: one is given up", MAX_COMMANDS)

    def _refuse_retained(self, message: Message) -> None:
        """What was asked once must not be done again at every connect."""
        self._service.announcer.count_refused()
        if not self._has_told_of_retained:
            self._has_told_of_retained = True
            log.warning(
                "the broker keeps a retained message on %.200s: such are ignored; delete it by retaining nothing there",
                message.topic,
            )

    def _frame(self, levels: list[str], message: Message) -> None:
        camera, ref, *more = [*map(from_level, levels), "", ""][: max(2, len(levels))]
        size = len(message.payload)
        if more:
            self._refuse_frame(message, camera, ref, "frames go to frame, frame/<camera> or frame/<camera>/<name>")
        elif size > self._max_bytes:
            wrong = f"it takes {size} bytes, and may take {self._max_bytes}: send it smaller, or raise frames.max_bytes"
            self._refuse_frame(message, camera, ref, wrong)
        elif not self._frames.put(camera, _Arrival(message, camera, ref, now_ms())):
            self._service.seeing.inbox.drop("mqtt")

    def _refuse_frame(self, message: Message, camera: str, ref: str, wrong: str) -> None:
        self._enqueue(partial(self._answer_frame, message, camera, ref, wrong))

    def _see(self) -> None:
        while (arrival := self._frames.take()) is not None:
            message, camera, ref = arrival.message, arrival.camera, arrival.ref
            try:
                results = self._classify(arrival)
            except LastlayerError as error:
                self._answer_frame(message, camera, ref, str(error))
            except Exception:
                log.exception("a frame of the camera %.40r failed", camera)
                self._answer_frame(message, camera, ref, "an error of the service; its log says which")
            else:
                topic = self._response_topic(message)
                for result in results:
                    if topic is None:
                        break
                    self._broker.publish(topic, result_payload(result), correlation=message.correlation)

    def _classify(self, arrival: _Arrival) -> list[Result]:
        """Raises LastlayerError."""
        try:
            payload, fields = unpacked(arrival.message.payload)
        except InputError:
            self._service.seeing.count_bad("mqtt")
            raise
        camera = arrival.camera or fields.get("camera", "")
        frame = Frame.pushed(payload, camera, arrival.ref, arrival.received_ms)
        return self._service.classify(frame, "mqtt", said(fields))

    def _exchange(self, what: str, key: str, task: str | None = None, *, message: Message) -> None:
        if not exchanging.is_key(key):
            self._service.announcer.count_refused()
        elif not self._exchanging.acquire(blocking=False):
            busy = exchanging.refusal("another exchange is under way: try again in a moment")
            self._enqueue(partial(self._broker.send, self._topics.exchanged(key), busy))
        else:
            self._enqueue(partial(self._answer_exchange, what, key, task, message.payload), self._exchanging.release)

    def _answer_exchange(self, what: str, key: str, task: str | None, payload: bytes) -> None:
        try:
            room = self._broker.room(self._topics.exchanged(key))
            named = from_level(task) if task is not None else None
            answer = exchanging.answer(self._service.tasks, named, what, payload, room)
        finally:
            self._exchanging.release()
        self._broker.send(self._topics.exchanged(key), answer)

    def _obey(self) -> None:
        while not self._stopping and (work := self._work.get()) is not None:
            try:
                work()
            except Exception:
                log.exception("an MQTT message failed")

    def _command(self, name: str, message: Message) -> None:
        answer = self._commands(name, message.payload)
        if not answer["ok"]:
            log.info("refused over MQTT: %.200s", answer["error"])
            self._service.announcer.count_refused()
        self._answer(message, answer)

    def _answer_frame(self, message: Message, camera: str, ref: str, wrong: str) -> None:
        self._service.announcer.count_refused()
        named = {"camera": camera[:MAX_LABEL_BYTES]} | ({"ref": ref[:MAX_LABEL_BYTES]} if ref else {})
        self._answer(message, {"command": "frame", "ok": False, "error": wrong, **named})

    def _answer(self, message: Message, answer: Mapping[str, Any]) -> None:
        topic = self._response_topic(message) or self._topics.answer
        self._broker.publish(topic, {**answer, "ts": now_ms()}, correlation=message.correlation)

    def _response_topic(self, message: Message) -> str | None:
        """Where the sender waits for an answer; None if it said nothing, or what would come back to us."""
        topic = message.response_topic
        usable = topic and is_topic(topic) and not topic.startswith((self._topics.below(""), "$"))
        return topic if usable else None
