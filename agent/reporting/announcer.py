"""What the board says of itself, to whoever listens: results, cameras' states, heads, retrainings, timings, health."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agent.records import Result
from agent.reporting.announced import Announced, Memory
from agent.reporting.debounce import Agreement, CameraStates
from agent.reporting.discovery import discovery_parts, discovery_payload, discovery_topic
from agent.reporting.timing import TimingReport
from agent.reporting.topics import result_payload

if TYPE_CHECKING:
    from agent.reporting.mqtt.broker import Broker

SETTLING = 2  # times that what has changed is said again

Outlet = Callable[[str, Mapping[str, Any]], None]  # ("head", what is said of it); must neither block nor raise


class Announcer:
    """Publishes through a broker, where one is configured. Never waits, never raises. Thread-safe.

    `seq` counts from 1 for each topic, so that a listener sees what it missed. Heads and retrainings are told
    to each of `outlets` as well. With a `discovery_prefix` Home Assistant is told below it which entities there are:
    those of before as well, by the `memory`, whose cameras are `known` to the `cameras`.
    """

    def __init__(
        self,
        broker: "Broker | None",
        outlets: Sequence[Outlet] = (),
        *,
        cameras: CameraStates | None = None,
        discovery_prefix: str | None = None,
        memory: Memory | None = None,
    ) -> None:
        self._broker = broker
        self._outlets = outlets
        self._cameras = cameras or CameraStates(Agreement())
        self._discovery_prefix = discovery_prefix
        self._memory = memory or Memory()
        announced = self._memory.announced
        self._phases = dict.fromkeys(announced.phases)  # in the order in which they came
        self._forgotten = dict.fromkeys(announced.forgotten)  # until Home Assistant has come online
        self._leaving: dict[str, None] = {}  # cameras that Home Assistant is being told to remove
        self._settling = 0  # times that it will hear it again
        self._seq: Counter[str] = Counter()
        self._refused = 0
        self._lock = threading.RLock()
        for camera in self._forgotten:  # the broker may not have heard it
            self._clear_state(camera)

    def result(self, result: Result) -> None:
        """And the state of its camera, if that has changed."""
        if self._broker is None:
            return
        self._broker.report("result", result_payload(result))
        with self._lock:
            known = len(self._cameras.cameras)
            state = self._cameras.see(result)
            if state is not None:
                agreement = self._cameras.agreement(result.camera)
                said = {"camera": result.camera, "state": state, "agree": agreement.agree, "of": agreement.of}
                self._say_state(self._broker.topics.camera_state(result.camera), {**said, "frame_id": result.frame_id})
            if len(self._cameras.cameras) != known:
                self._forgotten.pop(result.camera, None)
                self._leaving.pop(result.camera, None)
                self._discover_change()

    def head(self, report: Mapping[str, Any], task: str = "") -> None:
        """The head in service; retained."""
        self._tell("head", report)
        if self._broker is not None:
            self._say_state(self._broker.topics.head, report)

    def retrain(self, report: Mapping[str, Any], task: str = "") -> None:
        self._tell("retrain", report)
        self._report("retrain", report)

    def timings(self, reports: Iterable[TimingReport]) -> None:
        if self._broker is None:
            return
        phases = []
        for report in reports:
            phases.append(report.phase)
            payload = report.as_dict()
            del payload["seq"]  # that of this process; the broker's goes on after a restart
            self._broker.report(f"timing/{report.phase}", payload)
        with self._lock:
            known = len(self._phases)
            self._phases.update(dict.fromkeys(phases))
            if len(self._phases) != known:
                self._discover_change()

    def host(self, figures: Mapping[str, Any]) -> None:
        """How the board is."""
        self._report("host", figures)

    def counters(self, counts: Mapping[str, int]) -> None:
        """What was counted since the start; what became of reports and commands is added."""
        if self._broker is not None:
            ours = {
                "reports_dropped": self._broker.dropped,
                "reports_waiting": self._broker.waiting,
                "too_large": self._broker.too_large,
            }
            self._report("counters", {**counts, **ours, "refused": self._refused})

    def discover(self) -> None:
        """Tell Home Assistant, if it is configured, which entities there are; retained."""
        with self._lock:  # what is iterated stays as it is meanwhile
            self._say_entities(self._cameras.cameras, self._leaving)

    def settle(self) -> None:
        """To be called now and then: what has changed is said again.

        While Home Assistant works on an announcement, it passes over some of what the next one says. What it was told
        to remove is then left out.
        """
        with self._lock:
            if not self._settling or self._broker is None or not self._broker.connected:
                return
            self._settling -= 1
            if not self._settling:
                self._leaving.clear()
            self.discover()

    def forget(self, camera: str) -> None:
        """A camera is no more: nobody is told of it any longer, and Home Assistant is told to remove it."""
        with self._lock:
            self._cameras.forget(camera)
            self._forgotten.pop(camera, None)
            self._forgotten[camera] = None
            self._take_back([camera])

    def forget_view(self, task: str, view: str) -> None:
        """As `forget`, of a view of a task."""

    def meet_home_assistant(self) -> None:
        """Home Assistant has come online: it may not have heard what was forgotten meanwhile, and still have it."""
        with self._lock:
            forgotten = list(self._forgotten)
            self._forgotten.clear()
            if forgotten:
                self._take_back(forgotten)
            else:
                self.discover()

    def _take_back(self, cameras: list[str]) -> None:
        # It removes only what was announced to it since its start.
        self._say_entities([*self._cameras.cameras, *cameras], ())
        self._leaving |= dict.fromkeys(cameras)
        self._discover_change()
        for camera in cameras:
            self._clear_state(camera)

    def _discover_change(self) -> None:
        self._memory.keep(Announced(self._cameras.cameras, tuple(self._phases), tuple(self._forgotten)))
        self._settling = SETTLING
        self.discover()

    def _say_entities(self, cameras: Iterable[str], leaving: Iterable[str]) -> None:
        if self._broker is not None and self._discovery_prefix is not None:
            payload = discovery_payload(self._broker.topics, cameras, self._phases, leaving)
            topic = discovery_topic(self._discovery_prefix, self._broker.topics.node)
            parts = discovery_parts(self._discovery_prefix, self._broker.topics.node, payload)
            self._broker.publish(topic, payload, retain=True, parts=parts)

    def _clear_state(self, camera: str) -> None:
        if self._broker is not None:
            topic = self._broker.topics.camera_state(camera)
            self._seq.pop(topic, None)
            self._broker.publish(topic, {}, retain=True)

    def count_refused(self) -> None:
        """A message that somebody sent us was refused."""
        with self._lock:
            self._refused += 1

    def status(self) -> dict[str, Any] | None:
        """How the connection to the broker is; None where none is configured."""
        if self._broker is None:
            return None
        return {
            "connected": self._broker.connected,
            "dropped": self._broker.dropped,
            "too_large": self._broker.too_large,
            "waiting": self._broker.waiting,
            "refused": self._refused,
            "last_error": self._broker.last_error,
        }

    def _tell(self, event: str, payload: Mapping[str, Any]) -> None:
        for outlet in self._outlets:
            outlet(event, payload)

    def _report(self, name: str, payload: Mapping[str, Any]) -> None:
        if self._broker is not None:
            self._broker.report(name, {**payload, "ts": now_ms()})

    def _say_state(self, topic: str, payload: Mapping[str, Any]) -> None:
        assert self._broker is not None
        with self._lock:  # so that the later number is the one that stays
            self._seq[topic] += 1
            self._broker.publish(topic, {**payload, "ts": now_ms(), "seq": self._seq[topic]}, retain=True)


def now_ms() -> int:
    """The wall clock, unix ms."""
    return int(time.time() * 1000)
