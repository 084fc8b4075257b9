"""The words that every room of the house shares."""

import hashlib
import json
import math
import re
import time
import unicodedata
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from agent.errors import LabelError
from agent.region import Cut

MAX_LABEL_BYTES = 200
MAX_JSON_VALUES = 250_000  # a head's report of 256 labels has 70,000; so many take 20 MB at most
MAX_JSON_DEPTH = 16
MAX_INT = (1 << 63) - 1
MAX_PICTURE_BYTES = 64 << 20  # of a picture's file

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

Source = Literal["http", "mqtt", "folder"]  # through which door a frame came

DEFAULT_TASK = "default"  # the one that there is where the configuration names none


# What is not seen: soft hyphen, zero-width spaces and joints, marks of direction, byte order marks. Not those that join
# or part letters where scripts and emoji need it (U+200C, U+200D).
_UNSEEN = re.compile("[\u00ad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")


def checked_label(text: object) -> str:
    """A label as it is stored: a name without what is not seen in it, whose words are one plain space apart.

    Raises LabelError as checked_name does.
    """
    name = checked_name(text, "label")
    seen = _UNSEEN.sub("", name)
    return checked_name(" ".join(word for word in re.split(r"\s+", seen) if word), "label")


def checked_name(text: object, what: str) -> str:
    """The name of a camera, or a label as it may have been stored before: NFC, without surrounding blanks.

    Raises LabelError if it is not text, is empty, holds control characters, or is
    longer than MAX_LABEL_BYTES in UTF-8.
    """
    if not isinstance(text, str):
        raise LabelError(f"a {what} must be text, not {type(text).__name__}: {text!r:.60}")
    if len(text) > 10 * MAX_LABEL_BYTES:  # to normalise what does not end takes time without end
        raise LabelError(
            f"a {what} may take {MAX_LABEL_BYTES} bytes, this one has {len(text)} characters: {text[:40]!r}…"
        )
    label = unicodedata.normalize("NFC", text.strip())
    if not label:
        raise LabelError(f"a {what} must not be empty")
    # Cc are controls, Cs lone surrogates (not UTF-8), Zl and Zp line breaks in disguise.
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in label):
        raise LabelError(f"a {what} must not hold control characters: {label!r:.60}")
    size = len(label.encode())
    if size > MAX_LABEL_BYTES:
        raise LabelError(f"a {what} may take {MAX_LABEL_BYTES} bytes, this one takes {size}: {label:.40}…")
    return label


def plain_json(text: bytes) -> Any:
    """What JSON says that was written elsewhere, in memory that has a bound.

    Whoever asks can store it and say it on. Raises ValueError for what is no JSON in UTF-8, for more values or more
    levels than anybody writes, for numbers that are not finite or beyond 64 bits, for a key that comes twice, and for
    lone surrogates.
    """
    if sum(map(text.count, (b",", b"[", b"{"))) > MAX_JSON_VALUES:
        raise ValueError(f"it holds more than {MAX_JSON_VALUES} values")
    large = re.search(rb"[0-9]{19}", text) is not None  # else no number needs to be looked at, which takes time
    try:
        value = json.loads(
            text.decode(),
            parse_int=_integer if large else None,
            parse_float=_finite,
            parse_constant=_finite,
            object_pairs_hook=_once,
        )
        deep = _is_deeper(value, MAX_JSON_DEPTH)
    except RecursionError:
        deep = True
    if deep:
        raise ValueError(f"it is nested deeper than {MAX_JSON_DEPTH} levels")
    if re.search(rb"\\u[dD]", text):  # one half of a pair can come in no other way
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("it holds a lone surrogate, which is no character") from None
    return value


def _integer(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) > MAX_INT:
        raise ValueError(f"{digits[:20]}… does not fit into 64 bits")
    return int(digits)


def _finite(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise ValueError(f"{digits[:20]} is no finite number")
    return number


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    inner = [each for each in (value.values() if isinstance(value, dict) else value) if isinstance(each, (dict, list))]
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inner)


def picture_id(payload: bytes) -> str:
    """16 hex digits that depend on nothing but the picture's bytes."""
    return hashlib.blake2b(payload, digest_size=8).hexdigest()


def example_id(frame_id: str, cut: Cut) -> str:
    """16 hex digits for what is cut out of a frame; the frame's own where that is the whole of it."""
    if cut.is_whole:
        return frame_id
    return picture_id(f"{frame_id} {' '.join(map(repr, cut.region))} {cut.turned}".encode())


def is_finite(values: NDArray[Any]) -> bool:
    """Whether all of them are numbers that one can go on with; bytes always are."""
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())


@dataclass(frozen=True, slots=True)
class Frame:
    """Bytes pushed by a camera, with what is known about them."""

    frame_id: str  # 16 lower-case hex digits: the picture_id of what was pushed
    received_ms: int  # wall clock, unix ms
    payload: bytes  # as received: JPEG or PNG
    camera: str = ""
    ref: str = ""  # what its sender calls it

    @classmethod
    def pushed(cls, payload: bytes, camera: str = "", ref: str = "", received_ms: int | None = None) -> "Frame":
        """One that comes just now, or came at `received_ms`. The same bytes are the same frame, whoever pushes them.

        Raises LabelError for a camera's name or a `ref` that is none.
        """
        camera = checked_name(camera, "camera name") if camera else ""
        ref = checked_name(ref, "frame's name") if ref else ""
        return cls(picture_id(payload), received_ms or int(time.time() * 1000), payload, camera, ref)


@dataclass(frozen=True, slots=True)
class Said:
    """What who pushes a frame says of it."""

    label: str | None = None  # what it shows; to be remembered
    split: Split | None = None  # of its example
    new: bool = False  # the label is meant, though it is like another
    task: str | None = None  # that is asked alone
    view: str | None = None


NOTHING_SAID = Said()


@dataclass(frozen=True, slots=True)
class Prediction:
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Result:
    """What one view says of one frame."""

    frame_id: str
    camera: str
    received_ms: int
    head: str | None  # the version of the head that answered; None before the first one
    predictions: tuple[Prediction, ...]  # best first
    unknown: bool  # nothing can be said: there is no head yet, or no finite numbers came out
    timings_ms: dict[str, float] = field(default_factory=dict)
    ref: str = ""  # what the sender calls the frame, if it said so
    task: str = ""  # the question that was asked; "" where the configuration names no tasks
    view: str = ""  # of that task, by which the frame was looked at; "" as well for one without a name
    skipped: bool = False  # it shows nothing new: this was said of the frame before it, whose id stands here

    def as_dict(self) -> dict[str, Any]:
        """As it is said over HTTP; without tasks, as if there were no such thing."""
        return {
            "frame_id": self.frame_id,
            "camera": self.camera,
            **({"ref": self.ref} if self.ref else {}),
            **({"task": self.task, "view": self.view} if self.task else {}),
            **({"skipped": True} if self.skipped else {}),
            "received_ms": self.received_ms,
            "head": self.head,
            "predictions": [{"label": p.label, "probability": round(p.probability, 6)} for p in self.predictions],
            "unknown": self.unknown,
            "timings_ms": {phase: round(ms, 3) for phase, ms in self.timings_ms.items()},
        }


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a frame once it was classified, by one view."""

    result: Result
    bottleneck: NDArray[np.generic]  # [D], in the dtype of the backbone's output
    fingerprint: int  # the perceptual hash of the pixels, 64 bits
    cut: Cut = field(default_factory=Cut)
    finite: bool = True  # backbone and head had finite numbers for it


@dataclass(frozen=True, slots=True)
class Example:
    """A bottleneck and its label, as remembered in the cache."""

    frame_id: str  # 16 lower-case hex digits
    label: str
    bottleneck: NDArray[np.generic]  # [D], in the dtype of the cache
    received_ms: int
    camera: str = ""
    split: Split = "train"
    split_said: bool = False  # by somebody; otherwise its group decided
    group: int = 0  # of frames that belong on one side of a split, as bursts do; 0: of none
