"""What Home Assistant was told there is, across restarts: what was announced stays announced until it is taken back."""

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from agent.board.files import checked_content, checked_line, read_bounded, write_atomically

log = logging.getLogger(__name__)

MAX_NAMES = 64  # of each kind; those of cameras come from outside
MAX_BYTES = 256 << 10


class Announced(NamedTuple):
    """Names, of each kind in the order in which they came."""

    cameras: tuple[str, ...] = ()
    phases: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()  # cameras that Home Assistant may still have, if it was not there to hear otherwise


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
        """The newest MAX_NAMES of those that are forgotten, the oldest of the others."""
        cameras, phases, forgotten = announced
        bounded = Announced(cameras[:MAX_NAMES], phases[:MAX_NAMES], forgotten[-MAX_NAMES:])
        if bounded == self._kept:
            return
        self._kept = bounded
        if self._path is None:
            return
        try:
            write_atomically(self._path, checked_line(json.dumps(bounded._asdict()).encode()))
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror)


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
        return Announced(*(_names(kept[kind]) for kind in Announced._fields))
    except (ValueError, TypeError, KeyError):
        log.warning("%s is damaged: %s", path, lost)
        return Announced()


def _names(kept: Iterable[object]) -> tuple[str, ...]:
    """Raises TypeError for what are no names."""
    names = tuple(dict.fromkeys(kept))
    if not all(isinstance(name, str) for name in names):
        raise TypeError("a name is text")
    return tuple(map(str, names))[:MAX_NAMES]
