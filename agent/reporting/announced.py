"""What Home Assistant was told there is, across restarts: what was announced stays announced until it is taken back."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from agent.board.files import checked_content, checked_line, read_bounded, write_atomically
from agent.reporting.debounce import State
from agent.reporting.discovery import UNNAMED, Entity
from agent.reporting.topics import ViewName

log = logging.getLogger(__name__)

MAX_PHASES = 64
MAX_ENTITIES = 512  # cameras come from outside, and at most 64 of them have one; the others are in the configuration
MAX_BYTES = 2 << 20

_T = TypeVar("_T")


class Announced(NamedTuple):
    """Of each kind in the order in which they came."""

    entities: tuple[Entity, ...] = ()
    phases: tuple[str, ...] = ()
    forgotten: tuple[Entity, ...] = ()  # those that Home Assistant may still have, if it did not hear otherwise
    states: tuple[
        tuple[ViewName, State], ...
    ] = ()  # at the last stop; none while anything else may have been said since

    @property
    def views(self) -> dict[ViewName, State | None]:
        """Those with a state, and what it is where that is known."""
        seen = [ViewName(entity.task, entity.name) for entity in self.entities if entity.kind == "state"]
        return {**dict.fromkeys(seen), **{view: state for view, state in self.states if view in seen}}


class Memory:
    """What was announced, in a file that is written when that changes. For one thread at a time.

    Without a file nothing outlasts the process. One that cannot be read or written costs the memory, and ends nothing.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._kept = Announced() if path is None else _read(path)

    @property
    def announced(self) -> Announced:
        return self._kept

    def keep(self, announced: Announced) -> None:
        """The newest of those that are forgotten, the oldest of the others."""
        entities, phases, forgotten, states = announced
        bounded = Announced(
            entities[:MAX_ENTITIES], phases[:MAX_PHASES], forgotten[-MAX_ENTITIES:], states[:MAX_ENTITIES]
        )
        if bounded == self._kept:
            return
        self._kept = bounded
        if self._path is None:
            return
        try:
            write_atomically(self._path, checked_line(json.dumps(_plain(bounded)).encode()))
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror)


def _plain(announced: Announced) -> dict[str, Any]:
    """As it is written: of a board without tasks the names of its cameras, as ever."""
    others = [entity for entity in announced.entities if not _is_camera(entity)]
    return {
        "cameras": [entity.name for entity in announced.entities if _is_camera(entity)],
        "phases": announced.phases,
        "forgotten": [entity.name if _is_camera(entity) else entity for entity in announced.forgotten],
        **({"entities": others} if tuple(others) != UNNAMED else {}),
        **({"states": [[*view, state.as_dict()] for view, state in announced.states]} if announced.states else {}),
    }


def _read(path: Path) -> Announced:
    lost = "cameras and phases are announced once they are seen again"
    try:
        content = checked_content(read_bounded(path, MAX_BYTES).removesuffix(b"\n"))
    except FileNotFoundError:
        return Announced()
    except OSError as error:
        log.warning("%s cannot be read, %s: %s", path, lost, error.strerror)
        return Announced()
    try:
        kept = json.loads(content or b"")
        cameras = _each(kept["cameras"], _entity, MAX_ENTITIES)
        others = _each(kept["entities"], _entity, MAX_ENTITIES) if "entities" in kept else UNNAMED
        return Announced(
            (*others, *cameras),
            _each(kept["phases"], _name, MAX_PHASES),
            _each(kept["forgotten"], _entity, MAX_ENTITIES),
            _each(kept.get("states", ()), _state, MAX_ENTITIES),
        )
    except (ValueError, TypeError, KeyError):
        log.warning("%s is damaged: %s", path, lost)
        return Announced()


def _each(kept: Iterable[object], read: Callable[[Any], _T], most: int) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(map(read, kept)))[:most]


def _is_camera(entity: Entity) -> bool:
    return entity.kind == "state" and not entity.task


def _name(kept: object) -> str:
    """Raises TypeError for what is no name."""
    if not isinstance(kept, str):
        raise TypeError("a name is text")
    return kept


def _entity(kept: object) -> Entity:
    """The name of a camera, or kind, task and name. Raises TypeError and ValueError for anything else."""
    if isinstance(kept, str):
        return Entity("state", "", kept)
    if not isinstance(kept, list):
        raise TypeError("an entity is a list of words")
    kind, task, name = map(_name, kept)
    return Entity.checked(kind, task, name)


def _state(kept: Any) -> tuple[ViewName, State]:
    task, name, said = kept
    if not isinstance(said, Mapping):
        raise TypeError("a state is an object")
    return ViewName(_name(task), _name(name)), State.from_dict(said)
