"""What a worker does: a block of pictures in, bottlenecks out."""

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import ImageError, MismatchError
from agent.records import picture_id
from agent.reporting.timing import Timings
from agent.vision.backbone import FAMILY, Backbone
from agent.vision.bundle import Bundle, load_bundle
from agent.vision.classifier import Classifier

Picture = bytes | Callable[[], bytes]  # what reads it raises OSError


@dataclass
class Embedded:
    """What became of a block of n pictures."""

    frame_ids: list[str]  # [n]; "" where a picture could not be read
    fingerprints: list[int]  # [n] perceptual hashes
    bottlenecks: NDArray[Any]  # [n, D], zeros where a picture could not be read
    errors: dict[int, str] = field(default_factory=dict)  # place in the block → why it could not be read
    phases: tuple[dict[str, Any], ...] = ()  # what Timings.drain gave
    seconds: float = 0.0  # of work


def unreadable(size: int, dtype: np.dtype[Any], why: str) -> Embedded:
    """Of a single picture that nobody could do anything with."""
    return Embedded([""], [0], np.zeros((1, size), dtype), {0: why})


def joined(first: Embedded, second: Embedded) -> Embedded:
    """Two answers as one."""
    behind = len(first.frame_ids)
    return Embedded(
        first.frame_ids + second.frame_ids,
        first.fingerprints + second.fingerprints,
        np.concatenate([first.bottlenecks, second.bottlenecks]),
        first.errors | {behind + place: why for place, why in second.errors.items()},
        first.phases + second.phases,
        first.seconds + second.seconds,
    )


def contents(pictures: Sequence[Picture], timings: Timings, errors: dict[int, str]) -> dict[int, bytes]:
    """The bytes of the pictures that can be read, by place; the others go into `errors`."""
    found = {}
    for place, picture in enumerate(pictures):
        try:
            with timings.phase("file_access"):
                found[place] = picture if isinstance(picture, bytes) else picture()
        except OSError as error:
            errors[place] = str(error)
    return found


class Embedder:
    """One backbone, one thread in it at a time."""

    def __init__(self, bundle: Bundle) -> None:
        self._timings = Timings(node="worker", runtime=FAMILY, role="trainer")
        self._classifier = Classifier(Backbone(bundle), self._timings)

    @property
    def backbone_id(self) -> str:
        return self._classifier.backbone.backbone_id

    def __call__(self, pictures: Sequence[Picture]) -> Embedded:
        began = time.monotonic()
        backbone = self._classifier.backbone
        answer = Embedded(
            [""] * len(pictures), [0] * len(pictures), np.zeros((len(pictures), backbone.size), backbone.dtype)
        )
        for place, payload in contents(pictures, self._timings, answer.errors).items():
            try:
                answer.bottlenecks[place], answer.fingerprints[place] = self._classifier.embed(payload)
                answer.frame_ids[place] = picture_id(payload)
            except ImageError as error:
                answer.errors[place] = str(error)
        answer.phases = (self._timings.drain(),)
        answer.seconds = time.monotonic() - began
        return answer


class PackedBackbone:
    """A bundle's files as bytes, for workers that do not see them. Unpacked where it is first asked for."""

    def __init__(self, bundle: Bundle, backbone_id: str) -> None:
        self._manifest = (bundle.model.parent / "manifest.json").read_bytes()
        self._model_name, self._model = bundle.model.name, bundle.model.read_bytes()
        self._backbone_id = backbone_id
        self._forget()

    def _forget(self) -> None:
        self._embedder: Embedder | None = None
        self._lock: Any = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_embedder": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def embedder(self) -> Embedder:
        """Raises MismatchError where this process has another TFLite runtime than the one that asks."""
        with self._lock:
            if self._embedder is None:
                self._embedder = self._unpacked()
            return self._embedder

    def _unpacked(self) -> Embedder:
        with tempfile.TemporaryDirectory(prefix="lastlayer-") as folder:
            Path(folder, "manifest.json").write_bytes(self._manifest)
            Path(folder, self._model_name).write_bytes(self._model)
            embedder = Embedder(load_bundle(Path(folder)))
        if embedder.backbone_id != self._backbone_id:
            raise MismatchError(
                f"a worker has the TFLite runtime {FAMILY}, which gives other bottlenecks than the one here: "
                "install the same runtime on all machines"
            )
        return embedder
