"""What the board says of itself, to whoever listens: results, views' states, heads, retrainings, timings, health."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agent.records import Result
from agent.reporting.announced import Memory
from agent.reporting.debounce import State, States
from agent.reporting.entities import Entities
from agent.reporting.questions import UNNAMED, Question
from agent.reporting.retained import Retained
from agent.reporting.timing import TimingReport
from agent.reporting.topics import ViewName, now_ms, result_payload

if TYPE_CHECKING:
    from agent.reporting.mqtt.broker import Broker

Outlet = Callable[[str, Mapping[str, Any]], None]  # ("head", what is said of it); must neither block nor raise


class Announcer:
    """Publishes through a broker, where one is configured. Never waits, never raises. Thread-safe.

    `seq` counts from 1 for each topic, so that a listener sees what it missed. Heads and retrainings are told
    to each of `outlets` as well. With a `discovery_prefix` Home Assistant is told below it which entities there are.
    What was announced before the `memory` knows; what is no more in the `questions` is taken back.
    """

    def __init__(
        self,
        broker: "Broker | None",
        outlets: Sequence[Outlet] = (),
        *,
        questions: Mapping[str, Question] = UNNAMED,
        discovery_prefix: str | None = None,
        memory: Memory | None = None,
    ) -> None:
        self._broker = broker
        self._outlets = outlets
        self._questions = questions
        self._refused = 0
        self._lock = threading.RLock()
        if broker is not None:
            memory = memory or Memory()
            self._states = States(questions, memory.announced.views)
            self._retained = Retained(broker)
            self._entities = Entities(broker, self._retained, discovery_prefix, memory, questions, self._states)

    def result(self, result: Result) -> None:
        """And the state of its view, if that has changed. One that was skipped counts for the state alone."""
        if self._broker is None:
            return
        if not result.skipped:
            self._broker.report("result", result_payload(result))
        with self._lock:
            state = self._states.see(result)
            if state is not None:
                view = ViewName.of(result)
                self._entities.expect(view, state.state)  # before it is said
                self._say_state(view, state)

    def head(self, report: Mapping[str, Any], task: str = "") -> None:
        """The head in service; retained. Of its `labels` the states of the task's views are made."""
        said = _of(task, report)
        self._tell("head", said)
        if self._broker is not None:
            with self._lock:
                self._entities.know_labels(task, report.get("labels") or ())
                self._retained.say(self._broker.topics.head_of(task), said)

    def retrain(self, report: Mapping[str, Any], task: str = "") -> None:
        said = _of(task, report)
        self._tell("retrain", said)
        self._report("retrain", said)

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
            self._entities.take(phases)

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
        """At the start: tell Home Assistant, if it is configured, which entities there are, and say again what was
        said of their states; retained."""
        if self._broker is None:
            return
        with self._lock:
            self._entities.discover()
            for view, state in self._states.known.items():
                self._say_state(view, state)

    def settle(self) -> None:
        """To be called now and then: what has changed is said again to Home Assistant."""
        if self._broker is not None:
            with self._lock:
                self._entities.settle()

    def forget(self, camera: str) -> None:
        """A camera is no more: nobody is told of it any longer, and Home Assistant is told to remove it."""
        for task, question in self._questions.items():
            if question.any_camera:
                self.forget_view(task, camera)

    def forget_view(self, task: str, view: str) -> None:
        """As `forget`, a view of a task."""
        if self._broker is not None:
            with self._lock:
                self._entities.forget(ViewName(task, view))

    def meet_home_assistant(self) -> None:
        """Home Assistant has come online."""
        if self._broker is not None:
            with self._lock:
                self._entities.meet_home_assistant()

    def close(self) -> None:
        """At the end, when no result comes any more: what the states are is remembered."""
        if self._broker is not None:
            with self._lock:
                self._entities.remember_states()

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

    def _say_state(self, view: ViewName, state: State) -> None:
        assert self._broker is not None
        agreement = self._questions[view.task].agreement_of(view.name)
        named = {"task": view.task, "view": view.name} if view.task else {"camera": view.name}
        said = {**named, **state.as_dict(), "agree": agreement.agree, "of": agreement.of}
        self._retained.say(self._broker.topics.state(view), said)


def _of(task: str, report: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"task": task, **report} if task else report
