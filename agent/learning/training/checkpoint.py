"""A descent that was killed goes on where it last was on flash."""

import logging
import time
from pathlib import Path
from typing import Any

from agent.errors import StateError
from agent.learning.training import arrayfile
from agent.learning.training.arrayfile import Arrays

log = logging.getLogger(__name__)

# What is written may be 30 MB: seldom enough to spare the flash, and most trainings are over before.
EVERY_S = 120.0


class Checkpoint:
    """The file that holds how far a descent is. What cannot be read or written costs time and nothing else."""

    def __init__(self, path: Path, every_s: float = EVERY_S) -> None:
        self._path = path
        self._every_s = every_s
        self._last = time.monotonic()

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self._last >= self._every_s

    def save(self, identity: str, header: dict[str, Any], arrays: Arrays) -> None:
        """`identity` stands for the examples and the settings: only where they are the same can it go on."""
        try:
            arrayfile.save(self._path, {"identity": identity, **header}, arrays)
        except StateError as error:
            log.warning("%s; if the training is killed it begins anew", error)
        self._last = time.monotonic()  # after writing, however slow the flash is

    def load(self, identity: str) -> tuple[dict[str, Any], Arrays] | None:
        try:
            found = arrayfile.load(self._path)
        except StateError as error:
            log.warning("%s; the training begins anew", error)
            return None
        return found if found is not None and found[0].get("identity") == identity else None

    def clear(self) -> None:
        """Forget it: the head is made."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s cannot be removed: %s", self._path, error.strerror or error)
