"""Which entities Home Assistant has of the board: it is told of them, and of those that are no more."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from agent.reporting.announced import Memory
from agent.reporting.debounce import UNKNOWN, States
from agent.reporting.discovery import UNNAMED, Entity, discovery_parts, discovery_payload, discovery_topic
from agent.reporting.questions import Question
from agent.reporting.retained import Retained
from agent.reporting.topics import ViewName

if TYPE_CHECKING:
    from agent.reporting.mqtt.broker import Broker

SETTLING = 2  # times that what has changed is said again
MAX_OPTIONS = 100  # with more labels the states of a view are not listed


class Entities:
    """For one thread at a time. They follow from the tasks, their views and the labels of their heads.

    Without a `prefix` Home Assistant is told nothing. What it was told outlasts a restart by the `memory`.
    """

    def __init__(
        self,
        broker: "Broker",
        retained: Retained,
        prefix: str | None,
        memory: Memory,
        questions: Mapping[str, Question],
        states: States,
    ) -> None:
        self._broker = broker
        self._retained = retained
        self._prefix = prefix
        self._memory = memory
        self._questions = questions
        self._states = states
        self._labels: dict[str, tuple[str, ...]] = {}  # task → those of its head
        self._strays: dict[ViewName, dict[str, None]] = {}  # what a view's state was, or is, that is none of them
        announced = memory.announced
        self._phases = dict.fromkeys(announced.phases)  # in the order in which they came
        self._entities = self._wanted()
        self._forgotten = dict.fromkeys(announced.forgotten)  # until Home Assistant has come online
        self._leaving: dict[Entity, None] = {}  # that it is being told to remove
        self._stale: list[str] = []  # topics where the broker keeps what is no more
        self._settling = 0  # times that it will hear it again
        self._forgotten |= dict.fromkeys(announced.entities)
        for entity in self._entities:
            self._forgotten.pop(entity, None)
        self._leave(self._forgotten)

    def discover(self) -> None:
        """Tell Home Assistant, if it is configured, which entities there are; retained."""
        self._remember()
        self._say(self._entities, self._leaving)
        while self._stale:  # only now, since an entity that is there still takes nothing for damaged JSON
            self._retained.clear(self._stale.pop())

    def settle(self) -> None:
        """To be called now and then: what has changed is said again. What was to be removed is then left out.

        While Home Assistant works on an announcement, it passes over some of what the next one says.
        """
        if not self._settling or not self._broker.connected:
            return
        self._settling -= 1
        if not self._settling:
            self._leaving.clear()
        self.discover()

    def meet_home_assistant(self) -> None:
        """It may not have heard what was forgotten while it was away, and still have it."""
        forgotten = list(self._forgotten)
        self._forgotten.clear()
        if forgotten:
            self._take_back(forgotten)
        else:
            self.discover()

    def take(self, phases: Iterable[str]) -> None:
        known = len(self._phases)
        self._phases.update(dict.fromkeys(phases))
        if len(self._phases) != known:
            self._announce()

    def know_labels(self, task: str, labels: Sequence[str]) -> None:
        """Of the head that is in service from now on; none where they are not known."""
        self._labels[task] = tuple(labels)
        for view in [view for view in self._states.views if view.task == task]:
            self._strays.pop(view, None)
            state = self._states.of(view)
            if state is not None:
                self._expect(view, state.state)
        self._change()

    def expect(self, view: ViewName, state: str) -> None:
        """To be called before another state of the view is said, which may be a new one, as may be the view."""
        self._memory.keep(self._memory.announced._replace(states=()))
        self._expect(view, state)
        self._change()

    def forget(self, view: ViewName) -> None:
        """It is no more, whether or not it was known."""
        self._states.forget(view)
        self._strays.pop(view, None)
        wanted = self._wanted()
        gone = [entity for entity in self._entities if entity not in wanted]
        self._entities = wanted
        forgotten = dict.fromkeys([Entity("state", *view), *gone])
        for entity in forgotten:
            self._forgotten.pop(entity, None)  # it is the newest
        self._forgotten |= forgotten
        self._take_back(list(forgotten))

    def remember_states(self) -> None:
        """To be called at the end, when none is said any more."""
        self._memory.keep(self._memory.announced._replace(states=tuple(self._states.known.items())))

    def _wanted(self) -> dict[Entity, tuple[str, ...]]:
        """With the labels that they tell apart."""
        of_tasks = [unnamed._replace(task=task) for task in self._questions for unnamed in UNNAMED]
        wanted: dict[Entity, tuple[str, ...]] = dict.fromkeys(of_tasks, ())
        for view in self._states.views:
            labels, on = self._labels.get(view.task, ()), self._questions[view.task].on
            options = tuple(dict.fromkeys([*labels, *self._strays.get(view, ()), UNKNOWN]))
            wanted[Entity("state", *view)] = options if 0 < len(labels) <= MAX_OPTIONS else ()
            is_on = Entity("on", *view)
            if on in labels and len(labels) == 2 and UNKNOWN not in labels:
                wanted[is_on] = (on, labels[labels[0] == on])
            elif view.task not in self._labels and on is not None and is_on in self._memory.announced.entities:
                wanted[is_on] = ()  # as before the restart, as long as there is no head
        return wanted

    def _expect(self, view: ViewName, state: str) -> None:
        if state != UNKNOWN and state not in self._labels.get(view.task, ()):
            self._strays.setdefault(view, {})[state] = None

    def _change(self) -> None:
        """Announce what is another than before; what is no more is taken back."""
        wanted = self._wanted()
        if wanted == self._entities:
            return
        gone = [entity for entity in self._entities if entity not in wanted]
        self._entities = wanted
        for entity in wanted:
            self._forgotten.pop(entity, None)
            self._leaving.pop(entity, None)
        if gone:
            self._forgotten |= dict.fromkeys(gone)
            self._take_back(gone)
        else:
            self._announce()

    def _take_back(self, entities: list[Entity]) -> None:
        # It removes only what was announced to it since its start.
        self._say({**self._entities, **dict.fromkeys(entities, ())}, ())
        self._leave(entities)
        self._announce()

    def _leave(self, entities: Iterable[Entity]) -> None:
        for entity in entities:
            self._settling = SETTLING
            self._leaving[entity] = None
            topic = entity.retained(self._broker.topics)
            if topic is not None:
                self._stale.append(topic)  # whether or not it was cleared before: the broker may not have heard it

    def _announce(self) -> None:
        self._settling = SETTLING
        self.discover()

    def _remember(self) -> None:
        self._memory.keep(
            self._memory.announced._replace(
                entities=tuple(self._entities), phases=tuple(self._phases), forgotten=tuple(self._forgotten)
            )
        )
        self._forgotten = dict.fromkeys(self._memory.announced.forgotten)

    def _say(self, entities: Mapping[Entity, Sequence[str]], leaving: Iterable[Entity]) -> None:
        if self._prefix is not None:
            payload = discovery_payload(self._broker.topics, entities, self._phases, leaving)
            topic = discovery_topic(self._prefix, self._broker.topics.node)
            parts = discovery_parts(self._prefix, self._broker.topics.node, payload)
            self._broker.publish(topic, payload, retain=True, parts=parts)
