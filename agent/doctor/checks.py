"""What a check says."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

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
