"""What lies in a source and is not taken: by name, reason and class, so that nothing is missing without a word."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.board.files import printable
from agent.errors import DatasetError

NAMED = 3  # of what was left out for one reason, for a person
LINES = 20  # for a person; beyond them it is counted
MAX_NAMED, MAX_GROUPS = 20, 1000  # the same for a program


@dataclass(frozen=True, slots=True)
class LeftOut:
    name: str  # where it is
    reason: str
    label: str | None = None  # the class that it would have been of; None where it would have been of none


@dataclass(slots=True)
class _Group:
    """What was left out of one class for one reason."""

    label: str | None
    reason: str
    count: int = 0
    names: list[str] = field(default_factory=list)  # the first MAX_NAMED

    def __str__(self) -> str:
        some = ", ".join(self.names[:NAMED]) + (", …" if self.count > NAMED else "")
        of_class = f" of {self.label}" if self.label is not None else ""
        return f"left out: {self.count}{of_class}: {self.reason} ({some})"


def _grouped(left_out: Iterable[LeftOut]) -> list[_Group]:
    groups: dict[tuple[str | None, str], _Group] = {}
    for one in left_out:
        key = one.label, one.reason
        group = groups.setdefault(key, _Group(*key))
        group.count += 1
        if len(group.names) < MAX_NAMED:
            group.names.append(printable(one.name))
    return list(groups.values())


def lines(left_out: Iterable[LeftOut]) -> list[str]:
    """For a person: LINES at most and one more, however much it is."""
    groups = _grouped(left_out)
    more = sum(group.count for group in groups[LINES:])
    return [*map(str, groups[:LINES]), *([f"left out: {more} more for {len(groups) - LINES} reasons"] if more else [])]


def as_dicts(left_out: Iterable[LeftOut]) -> list[dict[str, Any]]:
    """For a program: `class`, `reason`, `count` and the first `names`."""
    return [
        {"class": group.label, "reason": group.reason, "count": group.count, "names": group.names}
        for group in _grouped(left_out)[:MAX_GROUPS]
    ]


def missing_classes(left_out: Iterable[LeftOut], kept: Collection[str]) -> dict[str, str]:
    """The classes of which something was left out and nothing was kept, and why, in words."""
    why: dict[str, list[_Group]] = {}
    for group in _grouped(left_out):
        if group.label is not None and group.label not in kept:
            why.setdefault(group.label, []).append(group)
    return {label: _in_words(groups) for label, groups in sorted(why.items())}


def _in_words(groups: list[_Group]) -> str:
    first = f"{groups[0].reason} ({groups[0].names[0]})"
    more = sum(group.count for group in groups) - 1
    return f"{first}, and {more} more" if more else first


def complaint(missing: Mapping[str, str]) -> str:
    """One sentence about the classes that are missing."""
    some = "; ".join(f"{label}: {why}" for label, why in list(missing.items())[:LINES])
    more = f"; and {len(missing) - LINES} more" if len(missing) > LINES else ""
    return f"no picture is left of {len(missing)} class{'es' * (len(missing) > 1)}: {some}{more}"


def refusal(missing: Mapping[str, str]) -> DatasetError:
    """What to raise where classes are missing and nobody said that they may be; the others are learnt by then."""
    return DatasetError(f"{complaint(missing)}. The other classes were learnt; --allow-missing says that it is meant")
