"""A view's state: the label on which enough of its last frames agree, so that one odd frame switches no light."""

import logging
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from agent.records import Result
from agent.reporting.questions import Question, is_asked
from agent.reporting.topics import ViewName

log = logging.getLogger(__name__)

UNKNOWN = "unknown"  # the state of a view of whose frames nothing can be said
MAX_CAMERAS = 64  # of a task with a state; their names come from outside, and must not fill the memory


@dataclass(frozen=True, slots=True)
class State:
    """What a view shows, and since when."""

    state: str  # a label, or UNKNOWN
    probability: float | None  # the mean of the frames that agreed; None where they agreed on nothing
    since_ms: int  # when the frame came that made it so; wall clock, unix ms
    last_known: str | None  # the label that it is, or was before it became UNKNOWN; None where there was none
    frame_id: str  # of that frame

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> "State":
        """The inverse of as_dict. Raises ValueError for what it never says."""
        state = cls(**{name: said.get(name) for name in cls.__slots__})  # type: ignore[arg-type]
        if not (isinstance(state.state, str) and isinstance(state.frame_id, str)):
            raise ValueError("a state and its frame are text")
        if not (state.last_known is None or isinstance(state.last_known, str)):
            raise ValueError("the last known state is text, if there was one")
        if not (state.probability is None or (type(state.probability) is float and 0 <= state.probability <= 1)):
            raise ValueError("a probability is from 0 to 1")
        if type(state.since_ms) is not int:
            raise ValueError("a state is since some time")
        return state


class States:
    """For one thread at a time. The views that the configuration names have one, and in a task whose views are called
    by their cameras the first MAX_CAMERAS; further ones and frames without a name have none."""

    def __init__(self, questions: Mapping[str, Question], known: Mapping[ViewName, State | None]) -> None:
        """Of the views that are `known`, as far as they are asked still, something was said before: it holds until
        enough of their frames agree on something else. None: it is not known what it was."""
        self._questions = questions
        self._named = {ViewName(task, name): None for task, question in questions.items() for name in question.views}
        self._frames: dict[ViewName, deque[tuple[str, float]]] = {}  # what each showed, and how probably
        self._states = {view: state for view, state in known.items() if is_asked(view, questions)}
        self._is_full = False

    @property
    def views(self) -> tuple[ViewName, ...]:
        """Those that the configuration names first."""
        return tuple(dict.fromkeys([*self._named, *self._states]))

    def of(self, view: ViewName) -> State | None:
        """None where nothing was said yet, or it is not known what."""
        return self._states.get(view)

    @property
    def known(self) -> dict[ViewName, State]:
        """What is said of each."""
        return {view: state for view, state in self._states.items() if state is not None}

    def see(self, result: Result) -> State | None:
        """The view's state if this frame changed it; that of a new view is UNKNOWN at first."""
        view = ViewName.of(result)
        question = self._questions.get(view.task)
        if question is None or not view.name or not self._has_room(view):
            return None
        agreement = question.agreement_of(view.name)
        frames = self._frames.setdefault(view, deque(maxlen=agreement.of))
        frames.append(_answer(result, agreement.min_probability))
        label, count = Counter(label for label, _ in frames).most_common(1)[0]
        if count < agreement.agree:
            if view in self._states:
                return None
            label = UNKNOWN
        before = self._states.get(view)
        if before is not None and label == before.state:
            return None
        last_known = label if label != UNKNOWN else before.last_known if before else None
        agreeing = [probability for each, probability in frames if each == label != UNKNOWN]
        mean = round(sum(agreeing) / len(agreeing), 6) if agreeing else None
        self._states[view] = state = State(label, mean, result.received_ms, last_known, result.frame_id)
        return state

    def forget(self, view: ViewName) -> None:
        """It is new when it comes again."""
        self._named.pop(view, None)
        self._states.pop(view, None)
        self._frames.pop(view, None)
        self._is_full = False

    def _has_room(self, view: ViewName) -> bool:
        if view in self._states or view in self._named:
            return True
        if sum(known.task == view.task for known in self._states) < MAX_CAMERAS:
            return True
        if not self._is_full:
            self._is_full = True
            log.warning(
                "the camera %.80r gets no state over MQTT, nor does any further one: %d have one; "
                "the command `forget` makes room",
                view.name,
                MAX_CAMERAS,
            )
        return False


def _answer(result: Result, min_probability: float) -> tuple[str, float]:
    """What a frame shows, as far as its state goes, and how probably."""
    if result.unknown or not result.predictions or result.predictions[0].probability < min_probability:
        return UNKNOWN, 0.0
    return result.predictions[0].label, result.predictions[0].probability
