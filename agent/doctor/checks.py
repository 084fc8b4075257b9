"""What a check says."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from agent.board.secret import Secret

Outcome = Literal["ok", "warn", "fail"]
WORST_LAST: tuple[Outcome, ...] = ("ok", "warn", "fail")


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    outcome: Outcome
    found: str
    advice: str = ""  # what to do; "" where all is well


def worst(checks: Iterable[Check]) -> Outcome:
    return max((check.outcome for check in checks), key=WORST_LAST.index, default="ok")


def warned_of_open(check: Check, secrets: "Iterable[Secret]") -> Check:
    """A check that found all well, unless one of these files is open to all."""
    open_to_all = [secret for secret in secrets if secret.complaint]
    if not open_to_all:
        return check
    found = "; ".join([check.found, *(secret.complaint for secret in open_to_all)])
    return Check(check.name, "warn", found, "; ".join(secret.remedy for secret in open_to_all))
