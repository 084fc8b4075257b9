"""Seeing: frame → decode → backbone → bottleneck → head → top-k → result, for each view of the frame."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.errors import BottleneckError
from agent.learning.pictures.bursts import dhash, thumbnail
from agent.learning.solving.head import Form, Head, predictions
from agent.records import Frame, Result, Seen, is_finite
from agent.region import UNCUT, Cut
from agent.reporting.timing import Stopwatch, Timings
from agent.vision.backbone import Backbone
from agent.vision.image import MAX_PIXELS, Crop, Mapped, Picture
from agent.vision.unchanged import Unchanged, grey_copy

Room = Callable[[int], AbstractContextManager[object]]  # memory for so many bytes, until its block ends
Shared = dict[tuple[str, Crop], NDArray[Any]]  # the bottlenecks of one frame, by backbone id and crop

TOP = 5


class Classifier:
    """A backbone, which others may use too, and the head in service. Thread-safe: pictures are decoded side by side,
    and go through the backbone one after another."""

    def __init__(self, backbone: Backbone, timings: Timings) -> None:
        self.backbone = backbone
        self._timings = timings
        # Replaced as a whole, so that a frame sees one head or the other and never waits.
        self._in_service: tuple[str, Head] | None = None

    @property
    def head_version(self) -> str | None:
        return self._in_service[0] if self._in_service else None

    @property
    def head(self) -> Head | None:
        """The one in service."""
        return self._in_service[1] if self._in_service else None

    def put_into_service(self, version: str, head: Head) -> None:
        """Let this head answer from the next frame on. Raises MismatchError and DamagedError for one that cannot."""
        head.check(Form(self.backbone.backbone_id, self.backbone.size))
        self._in_service = version, head

    def embed(self, payload: bytes, cut: Cut = UNCUT) -> tuple[NDArray[Any], int]:
        """The bottleneck [D] and the perceptual hash of what is cut out of a picture, from its bytes.

        Raises ImageError, and BottleneckError where the backbone has no finite numbers for it.
        """
        watch = Stopwatch()
        with watch.phase("decode"):
            (image,) = Picture(payload, [self.crop(cut)]).pixels()
        with self.backbone.turn, watch.phase("bottleneck"):
            bottleneck = self.backbone.bottleneck(image)
        self._timings.record(watch)
        if not is_finite(bottleneck):
            raise BottleneckError("the backbone gives no finite numbers for this picture: nothing can be said of it")
        return bottleneck, dhash(thumbnail(image))

    def classify(self, frame: Frame, top: int = TOP, cut: Cut = UNCUT) -> Seen:
        """By one view alone; as `look`."""
        (seen,) = look(frame, [View(self, cut)], self._timings, top=top)
        return seen

    def crop(self, cut: Cut) -> Crop:
        """What is cut out, in as many pixels as the backbone takes."""
        return Crop(self.backbone.bundle.width, self.backbone.bundle.height, cut)

    def bottleneck(self, image: NDArray[np.uint8], crop: Crop, shared: Shared, watch: Stopwatch) -> NDArray[Any]:
        """That of a crop's pixels, from `shared`, or put there."""
        key = self.backbone.backbone_id, crop
        with self.backbone.turn, watch.phase("session_run"):
            if key not in shared:
                with watch.phase("bottleneck"):
                    shared[key] = self.backbone.bottleneck(image)
        return shared[key]

    def answer(
        self,
        frame: Frame,
        image: NDArray[np.uint8],
        crop: Crop,
        bottleneck: NDArray[Any],
        top: int,
        watch: Stopwatch,
    ) -> Seen:
        """What the head says of a crop's pixels."""
        version, head = self._in_service or (None, None)
        with watch.phase("session_run"):
            probabilities = head.probabilities(bottleneck) if head and is_finite(bottleneck) else None
        finite = is_finite(bottleneck) and (probabilities is None or is_finite(probabilities))
        with watch.phase("result_processing"):
            best = predictions(probabilities, head.labels, top) if head and probabilities is not None and finite else ()
        result = Result(
            frame.frame_id, frame.camera, frame.received_ms, version, best, not (head and finite), watch.ms, frame.ref
        )
        return Seen(result, bottleneck, dhash(thumbnail(image)), crop.cut, finite)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Where a task looks, and what answers there."""

    classifier: Classifier
    cut: Cut = field(default_factory=Cut)
    task: str = ""  # as in Result
    name: str = ""  # "": it is called by the camera of each frame
    camera: str | None = None  # None: it looks at every frame
    unchanged: Unchanged | None = None  # None: every frame is classified

    def called(self, camera: str) -> str:
        """Its name, for a frame of that camera."""
        return self.name or camera

    def take(
        self, frame: Frame, image: NDArray[np.uint8], crop: Crop, shared: Shared, top: int, fresh: bool
    ) -> "Taken":
        """Compare it with the last one that was classified, or else let it through the backbone."""
        watch, copy = Stopwatch(), None
        if self.unchanged is not None:
            with watch.phase("compare"):
                copy = grey_copy(image)
                like = None if fresh else self.unchanged.like(frame.camera, copy, top, self.classifier.head_version)
            if like is not None:
                return Taken(watch, copy, like)
        return Taken(watch, copy, self.classifier.bottleneck(image, crop, shared, watch))

    def say(
        self, frame: Frame, image: NDArray[np.uint8], crop: Crop, taken: "Taken", top: int, began: Stopwatch
    ) -> Seen:
        """What it shows. What had been done before it was `taken` took what is in `began`."""
        watch = taken.watch
        if isinstance(taken.found, Seen):
            said = replace(taken.found.result, skipped=True, ref=frame.ref, timings_ms={**began.ms, **watch.ms})
            return replace(taken.found, result=said)
        seen = self.classifier.answer(frame, image, crop, taken.found, top, watch)
        named = replace(
            seen.result, task=self.task, view=self.called(frame.camera), timings_ms={**began.ms, **watch.ms}
        )
        seen = replace(seen, result=named)
        if self.unchanged is not None and taken.copy is not None and seen.finite:
            self.unchanged.keep(frame.camera, taken.copy, top, seen)
        return seen


class Taken(NamedTuple):
    """What a view has of a frame before it says what it shows."""

    watch: Stopwatch
    copy: NDArray[np.float32] | None  # where frames that show nothing new are passed by
    found: Seen | NDArray[Any]  # of the frame that it is like; else the bottleneck


def look(
    frame: Frame,
    views: Sequence[View],
    timings: Timings,
    *,
    top: int = TOP,
    room: Room = nullcontext,
    max_pixels: int = MAX_PIXELS,
    fresh: bool = False,
    mapped: Mapped = map,
) -> list[Seen]:
    """What each of the views sees. They share one decode, and those that want the same of one backbone its bottleneck.

    It goes on from the header when it has `room` for the memory that the pixels take. A frame for which backbone or
    head have no finite numbers is unknown. Where it is to be `fresh`, nothing is passed by for showing nothing new.
    `mapped` makes the pixels of several crops, as `map` would.

    Raises ImageError where the frame's bytes are no good picture, and what `room` raises.
    """
    watch, shared = Stopwatch(), Shared()
    crops = [view.classifier.crop(view.cut) for view in views]
    wanted = list(dict.fromkeys(crops))
    with watch.phase("decode"):
        picture = Picture(frame.payload, wanted, max_pixels=max_pixels)
    with room(picture.decoding_bytes):
        images: dict[Crop, NDArray[np.uint8]] = {}
        taken = []
        with closing(picture.each(mapped)) as each:
            for view, crop in zip(views, crops, strict=True):
                if crop not in images:
                    with watch.phase("decode"):
                        images[crop] = next(each)
                taken.append(view.take(frame, images[crop], crop, shared, top, fresh))
        # Behind all that the backbone does: a network leaves nothing of Python in the processor's caches.
        seen = [
            view.say(frame, images[crop], crop, of_view, top, watch)
            for view, crop, of_view in zip(views, crops, taken, strict=True)
        ]
    timings.record(watch)
    for of_view in taken:
        timings.record(of_view.watch)
    return seen
