"""A camera's state: the label on which enough of its last frames agree, so that one odd frame switches no light."""

import logging
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from agent.records import Result

log = logging.getLogger(__name__)

UNKNOWN = "unknown"  # the state of a camera of whose frames nothing can be said
MAX_CAMERAS = 64  # with a state; the names come from outside, and one for every frame must not fill the memory


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many of how many frames."""

    agree: int = 3
    of: int = 5


class CameraStates:
    """For one thread at a time. The first MAX_CAMERAS cameras have one, further ones and frames without a name none."""

    def __init__(
        self, everywhere: Agreement, particular: dict[str, Agreement] | None = None, known: Iterable[str] = ()
    ) -> None:
        """Of the cameras that are `known` something was said before: it holds until enough of their frames agree."""
        self._everywhere = everywhere
        self._particular = particular or {}  # camera → what holds for it instead
        self._labels: dict[str, deque[str]] = {}
        self._states: dict[str, str | None] = dict.fromkeys(known)  # None: what was said before
        self._is_full = False

    @property
    def cameras(self) -> tuple[str, ...]:
        return tuple(self._states)

    def agreement(self, camera: str) -> Agreement:
        return self._particular.get(camera, self._everywhere)

    def see(self, result: Result) -> str | None:
        """The camera's state if this frame changed it; that of a new camera is UNKNOWN at first."""
        camera = result.camera
        if not camera or (camera not in self._states and not self._has_room(camera)):
            return None
        agreement = self.agreement(camera)
        labels = self._labels.setdefault(camera, deque(maxlen=agreement.of))
        labels.append(UNKNOWN if result.unknown or not result.predictions else result.predictions[0].label)
        label, count = Counter(labels).most_common(1)[0]
        before = self._states.get(camera)
        state = label if count >= agreement.agree else self._states.get(camera, UNKNOWN)
        self._states[camera] = state
        return state if state != before else None

    def forget(self, camera: str) -> None:
        """It is new when it comes again."""
        self._states.pop(camera, None)
        self._labels.pop(camera, None)
        self._is_full = False

    def _has_room(self, camera: str) -> bool:
        if len(self._states) < MAX_CAMERAS:
            return True
        if not self._is_full:
            self._is_full = True
            log.warning(
                "the camera %.80r gets no state over MQTT, nor does any further one: %d have one; "
                "the command `forget` makes room",
                camera,
                MAX_CAMERAS,
            )
        return False
