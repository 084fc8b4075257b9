"""What is known of a head beside itself: how it was made and what the gate said, each of a type that all may rely on.

A report may come from elsewhere, or from an older version: whoever shows one asks here first.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

from agent.records import MAX_INT, checked_name, plain_json

MAX_TEXT = 2000  # characters
MAX_MS = 253_402_300_799_999  # the last of the year 9999

Shape = Callable[[Any], None]  # raises ValueError for a value that is not of it


def checked(report: Mapping[str, Any], keys: Iterable[str] = ()) -> dict[str, Any]:
    """What a report says under these keys, or under all that are known here; other keys are left out.

    Raises ValueError, which names the key, for a value of another type, or out of its bounds.
    """
    found = {key: report[key] for key in keys or _SHAPES if report.get(key) is not None}
    for key, value in found.items():
        try:
            _SHAPES[key](value)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
    return found


def summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """The part that fits into a list: no curves, no confusion matrix; null for what is not said.

    `accepted` is what the gate said: true, false, or null for a head that it never judged. Raises ValueError as
    `checked` does.
    """
    known = checked(report, (*_SUMMARY, "gate"))
    gate = known.pop("gate", {})
    return {key: known.get(key) for key in _SUMMARY} | {"accepted": gate.get("accepted")}


def sealed(report: Mapping[str, Any]) -> bytes:
    """As it lies on flash: JSON with a sha256 of its own, and null for a figure that is not finite."""
    text = json.dumps({key: value for key, value in report.items() if key != "sha256"})
    plain = json.loads(text, parse_constant=lambda name: None)
    return json.dumps({**plain, "sha256": _seal(plain)}).encode()


def unsealed(content: bytes) -> dict[str, Any]:
    """A report as it was sealed, of whatever types. Raises ValueError where it is not as it was then."""
    report = plain_json(content)
    if not isinstance(report, dict):
        raise ValueError("it is no JSON object")
    seal = report.pop("sha256", None)  # none in those of before there was one
    if seal is not None and seal != _seal(report):
        raise ValueError("its sha256 does not match")
    return report


def _seal(report: Mapping[str, Any]) -> str:
    """The sha256 of the report's JSON, keys sorted, without blanks, in hex."""
    return hashlib.sha256(json.dumps(report, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _text(value: Any) -> None:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise ValueError(f"it must be a line of text of at most {MAX_TEXT} characters, not {value!r:.60}")


def _label(value: Any) -> None:
    if checked_name(value, "label") != value:
        raise ValueError(f"{value!r:.60} is not as labels are stored (NFC, without blanks around it)")


def _number(value: Any) -> None:
    if type(value) not in (int, float) or not -MAX_INT <= value <= MAX_INT:
        raise ValueError(f"it must be a number, not {value!r:.60}")


def _count(value: Any) -> None:
    if type(value) is not int or not 0 <= value <= MAX_INT:
        raise ValueError(f"it must be a whole number from 0, not {value!r:.60}")


def _ms(value: Any) -> None:
    if type(value) is not int or not 0 <= value <= MAX_MS:
        raise ValueError(f"it must be milliseconds since 1970, not {value!r:.60}")


def _truth(value: Any) -> None:
    if type(value) is not bool:
        raise ValueError(f"it must be true or false, not {value!r:.60}")


def _scalar(value: Any) -> None:
    if type(value) is not bool and value is not None:
        (_text if isinstance(value, str) else _number)(value)


def _or_null(shape: Shape) -> Shape:
    def check(value: Any) -> None:
        if value is not None:
            shape(value)

    return check


def _each(shape: Shape) -> Shape:
    def check(value: Any) -> None:
        if not isinstance(value, list):
            raise ValueError(f"it must be a list, not {value!r:.60}")
        for each in value:
            shape(each)

    return check


def _of(key: Shape, shape: Shape) -> Shape:
    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise ValueError(f"it must be an object, not {value!r:.60}")
        for name, each in value.items():
            key(name)
            shape(each)

    return check


def _record(**shapes: Shape) -> Shape:
    """An object that has each of these keys, and perhaps others."""

    def check(value: Any) -> None:
        if not isinstance(value, dict) or not value.keys() >= shapes.keys():
            raise ValueError(f"it must be an object with {', '.join(shapes)}, not {value!r:.60}")
        for key, shape in shapes.items():
            shape(value[key])

    return check


def _recipe(value: Any) -> None:
    (_text if isinstance(value, str) else _of(_text, _scalar))(value)


def _curves(value: Any) -> None:
    point = _record(
        step=_count,
        loss=_or_null(_number),
        train_top1=_or_null(_number),
        val_top1=_or_null(_number),
        val_top5=_or_null(_number),
    )
    _each(point)(value)
    steps = [0, *(each["step"] for each in value)]
    if any(after <= before for before, after in pairwise(steps)):
        raise ValueError("its steps must grow, from 1 on")


_FIGURES = _of(_text, _or_null(_number))

_SHAPES: dict[str, Shape] = {
    "version": _text,
    "created_ms": _ms,
    "received_ms": _ms,
    "backbone_id": _text,
    "labels": _each(_label),
    "label_counts": _of(_label, _count),
    "untrained_labels": _each(_label),
    "not_finite": _each(_text),
    "examples": _count,
    "held_back": _count,
    "solver": _text,
    "reason": _text,
    "settings": _of(_text, _scalar),
    "top1": _number,
    "top5": _number,
    "candidates": _each(_record(recipe=_recipe, top1=_or_null(_number), loss=_or_null(_number))),
    "curves": _curves,
    "validation": _record(
        images=_count,
        top1=_number,
        top5=_number,
        macro_recall=_number,
        ece=_number,
        labels=_each(_label),
        per_class=_of(_label, _record(count=_count, recall=_or_null(_number), precision=_or_null(_number))),
        confusion=_or_null(_each(_each(_count))),
        unknown_labels=_of(_label, _count),
    ),
    "phases": _of(_text, _FIGURES),
    "gate": _record(accepted=_truth, reason=_text),
}
_SUMMARY = ("version", "created_ms", "labels", "examples", "solver", "top1", "top5", "backbone_id")
