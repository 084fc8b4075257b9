"""Seeing: frame → decode → backbone → bottleneck → head → top-k → result."""

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import BottleneckError
from agent.learning.pictures.bursts import dhash, thumbnail
from agent.learning.solving.head import Form, Head, predictions
from agent.records import Frame, Result, Seen, is_finite
from agent.reporting.timing import Stopwatch, Timings
from agent.vision.backbone import Backbone
from agent.vision.drawing import Line, drawn
from agent.vision.image import MAX_PIXELS, Crop, Picture

Room = Callable[[int], AbstractContextManager[object]]  # memory for so many bytes, until its block ends

log = logging.getLogger(__name__)

TOP = 5
TOLERANCE = 1e-3  # of the largest value: threads that sum in another order stay far below


class Classifier:
    """A backbone and the head in service. Thread-safe: pictures are decoded side by side, and go through the
    backbone one after another."""

    def __init__(self, backbone: Backbone, timings: Timings, *, max_pixels: int = MAX_PIXELS) -> None:
        self.backbone = backbone
        self._timings = timings
        self._max_pixels = max_pixels
        self._turn = threading.Lock()
        self._probe = Probe()
        # Replaced as a whole, so that a frame sees one head or the other and never waits.
        self._in_service: tuple[str, Head] | None = None

    @property
    def head_version(self) -> str | None:
        return self._in_service[0] if self._in_service else None

    def put_into_service(self, version: str, head: Head) -> None:
        """Let this head answer from the next frame on. Raises MismatchError and DamagedError for one that cannot."""
        head.check(Form(self.backbone.backbone_id, self.backbone.size))
        self._in_service = version, head

    def trouble(self, timeout: float) -> str | None:
        """Why no frame can be classified; None where a picture of our own can, and gives the bottleneck that it gave at
        the first time. Waits `timeout` seconds for its turn."""
        _, head = self._in_service or (None, None)
        if not self._turn.acquire(timeout=timeout):
            return f"the backbone has been busy for {timeout:g} s"
        try:
            (image,) = self._opened(self._probe.picture).pixels()
            bottleneck = self.backbone.bottleneck(image)
            scores = head.probabilities(bottleneck) if head else bottleneck
        except Exception as error:
            log.debug("a picture of our own could not be classified", exc_info=True)
            return f"the backbone failed on a picture of our own: {error}"
        finally:
            self._turn.release()
        return self._probe.fault(bottleneck, scores)

    def embed(self, payload: bytes) -> tuple[NDArray[Any], int]:
        """The bottleneck [D] and the perceptual hash of a picture's bytes.

        Raises ImageError, and BottleneckError where the backbone has no finite numbers for it.
        """
        watch = Stopwatch()
        with watch.phase("decode"):
            (image,) = self._opened(payload).pixels()
        with self._turn, watch.phase("bottleneck"):
            bottleneck = self.backbone.bottleneck(image)
        self._timings.record(watch)
        if not is_finite(bottleneck):
            raise BottleneckError("the backbone gives no finite numbers for this picture: nothing can be said of it")
        return bottleneck, dhash(thumbnail(image))

    def classify(self, frame: Frame, top: int = TOP, room: Room = nullcontext) -> Seen:
        """It goes on from the header when it has `room` for the memory that the pixels take. A frame for which backbone
        or head have no finite numbers is unknown.

        Raises ImageError where the frame's bytes are no good picture, and what `room` raises.
        """
        watch = Stopwatch()
        with watch.phase("decode"):
            picture = self._opened(frame.payload)
        with room(picture.decoding_bytes):
            version, head = self._in_service or (None, None)
            with watch.phase("decode"):
                (image,) = picture.pixels()
            with self._turn, watch.phase("session_run"):
                with watch.phase("bottleneck"):
                    bottleneck = self.backbone.bottleneck(image)
                probabilities = head.probabilities(bottleneck) if head and is_finite(bottleneck) else None
        finite = is_finite(bottleneck) and (probabilities is None or is_finite(probabilities))
        with watch.phase("result_processing"):
            best = predictions(probabilities, head.labels, top) if head and probabilities is not None and finite else ()
        self._timings.record(watch)
        result = Result(
            frame.frame_id, frame.camera, frame.received_ms, version, best, not (head and finite), watch.ms, frame.ref
        )
        return Seen(frame, result, bottleneck, thumbnail(image), finite)

    def _opened(self, payload: bytes) -> Picture:
        bundle = self.backbone.bundle
        return Picture(payload, [Crop(bundle.width, bundle.height)], max_pixels=self._max_pixels)


class Probe:
    """A picture of our own, by which one sees whether a frame would still get its bottleneck.

    `picture` holds the bytes of a PNG. It must give the same bottleneck each time: so a model is noticed whose file
    was overwritten while it was loaded, and memory that forgets.
    """

    def __init__(self) -> None:
        stripes = [Line([(8 * at, 0), (64 - 8 * at, 64)], color, 4) for at, color in enumerate(("red", "lime", "blue"))]
        self.picture = drawn(64, 64, stripes)
        self._first: NDArray[np.float64] | None = None

    def fault(self, bottleneck: NDArray[Any], scores: NDArray[Any]) -> str | None:
        """What is wrong with a bottleneck [D] that the picture gave, or with what the head made of it."""
        values = bottleneck.astype(np.float64)
        if not (np.isfinite(values).all() and np.isfinite(scores).all()):
            return "what comes out for a picture of our own is not finite"
        if self._first is None:
            self._first = values
        allowed = TOLERANCE * float(np.abs(self._first).max(initial=0.0))
        if np.allclose(values, self._first, rtol=0.0, atol=allowed):
            return None
        return (
            "one and the same picture has another bottleneck than at the start: the model's file was overwritten, or "
            "memory or flash are failing"
        )
