"""Files with tokens, passwords and keys, and whether they are kept."""

import logging
import shlex
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)


class Secret(NamedTuple):
    key: str  # of the configuration, or the option, that names it
    path: Path

    @property
    def complaint(self) -> str:
        """What is wrong where every user of this machine may come at it; "" where only its owner and its group may.

        The group may be there for that: a service gets what it reads so.
        """
        try:
            mode = self.path.stat().st_mode
        except OSError:
            return ""  # who reads it says what is wrong with it
        if not stat.S_ISREG(mode) or not mode & (stat.S_IROTH | stat.S_IWOTH):
            return ""
        return f"{self.key}: every user may {'read' if mode & stat.S_IROTH else 'change'} {self.path}"

    @property
    def remedy(self) -> str:
        """What to type."""
        return f"chmod o= {shlex.quote(str(self.path))}"


def warn_of_open(secrets: Iterable[Secret]) -> None:
    """A line in the log for each that is open to all."""
    for secret in secrets:
        if complaint := secret.complaint:
            log.warning("%s; type: %s", complaint, secret.remedy)
