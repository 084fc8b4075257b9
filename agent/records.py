"""The words that every room of the house shares."""

import hashlib
import secrets
import time
import unicodedata
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from agent.errors import LabelError

MAX_LABEL_BYTES = 200
MAX_PICTURE_BYTES = 64 << 20  # of a picture's file

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

Source = Literal["http", "mqtt", "folder"]  # through which door a frame came


def checked_label(text: object, what: str = "label") -> str:
    """A label (or a camera's name) as it is stored: NFC, without surrounding blanks.

    Raises LabelError if it is not text, is empty, holds control characters, or is
    longer than MAX_LABEL_BYTES in UTF-8.
    """
    if not isinstance(text, str):
        raise LabelError(f"a {what} must be text, not {type(text).__name__}: {text!r:.60}")
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


def picture_id(payload: bytes) -> str:
    """16 hex digits that depend on nothing but the picture's bytes."""
    return hashlib.blake2b(payload, digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Frame:
    """Bytes pushed by a camera, with what is known about them."""

    frame_id: str  # 16 lower-case hex digits
    received_ms: int  # wall clock, unix ms
    payload: bytes  # as received: JPEG or PNG
    camera: str = ""
    ref: str = ""  # what its sender calls it

    @classmethod
    def pushed(cls, payload: bytes, camera: str = "", ref: str = "", received_ms: int | None = None) -> "Frame":
        """One that comes just now, or came at `received_ms`, with an id of its own.

        Raises LabelError for a camera's name or a `ref` that is none.
        """
        camera = checked_label(camera, "camera name") if camera else ""
        ref = checked_label(ref, "frame's name") if ref else ""
        return cls(secrets.token_hex(8), received_ms or int(time.time() * 1000), payload, camera, ref)


@dataclass(frozen=True, slots=True)
class Prediction:
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Result:
    """What is said of one frame."""

    frame_id: str
    camera: str
    received_ms: int
    head: str | None  # the version of the head that answered; None before the first one
    predictions: tuple[Prediction, ...]  # best first
    unknown: bool  # nothing can be said: there is no head yet
    timings_ms: dict[str, float] = field(default_factory=dict)
    ref: str = ""  # what the sender calls the frame, if it said so

    def as_dict(self) -> dict[str, Any]:
        return {
            "frame_id": self.frame_id,
            "camera": self.camera,
            **({"ref": self.ref} if self.ref else {}),
            "received_ms": self.received_ms,
            "head": self.head,
            "predictions": [{"label": p.label, "probability": round(p.probability, 6)} for p in self.predictions],
            "unknown": self.unknown,
            "timings_ms": {phase: round(ms, 3) for phase, ms in self.timings_ms.items()},
        }


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a frame once it was classified."""

    frame: Frame
    result: Result
    bottleneck: NDArray[np.generic]  # [D], in the dtype of the backbone's output
    thumbnail: NDArray[np.uint8]  # for the perceptual hash of the picture, if it comes to be labelled


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
