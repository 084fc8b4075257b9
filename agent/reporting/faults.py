"""What may fail again and again, and must end nothing: it is told once, until it has worked again."""

import logging
from collections.abc import Callable
from typing import TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


class Faults:
    """For one thread."""

    def __init__(self) -> None:
        self._standing: set[str] = set()

    def attempt(self, what: str, call: Callable[[], T]) -> T | None:
        """What `call` gives; None where it raises. `what` names it, in the log and for the next time."""
        try:
            given = call()
        except Exception as error:
            level = logging.DEBUG if what in self._standing else logging.ERROR
            log.log(level, "%s: %s: %s", what, type(error).__name__, error, exc_info=True)
            self._standing.add(what)
            return None
        if what in self._standing:
            log.info("%s: works again", what)
            self._standing.remove(what)
        return given
