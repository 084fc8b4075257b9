"""Seeing: a frame that any source brought is looked at by those views that it concerns, remembered, and told of."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import partial

from agent.errors import ImageError, UnknownTaskError
from agent.learning.solving.head import Head
from agent.records import DEFAULT_TASK, Frame, Result, Seen, Source
from agent.reporting.timing import Timings
from agent.service.inbox import Inbox
from agent.service.recent import RecentFrames
from agent.vision.ahead import Ahead
from agent.vision.backbone import Backbone
from agent.vision.classifier import TOP, View, look
from agent.vision.probe import Probe

log = logging.getLogger(__name__)

FRESH_S = 10.0  # a frame that was classified so recently says that others can be
BUSY_S = 5.0


@dataclass(frozen=True, slots=True)
class SourceCounts:
    """The frames of one source since the start. What only happens with tasks is said once it has."""

    frames: int  # classified
    bad_frames: int  # that were no good picture
    dropped: int  # for which there was no room
    skipped: int = 0  # that showed nothing new to any view that looked at them
    ignored: int = 0  # that no view looks at

    def as_dict(self) -> dict[str, int]:
        return {name: count for name, count in asdict(self).items() if count or name not in ("skipped", "ignored")}


NONE = SourceCounts(0, 0, 0)


class Seeing:
    """Thread-safe. Each of `listeners` is told what each view says of a frame, in the thread that brought it, and must
    not block.

    Pictures of more than `max_bytes` are refused, and such of more than `max_pixels`.
    """

    def __init__(
        self,
        views: Sequence[View],
        inbox: Inbox,
        recent: RecentFrames,
        timings: Timings,
        listeners: Sequence[Callable[[Seen], None]],
        ahead: Ahead,
        *,
        max_bytes: int,
        max_pixels: int,
    ) -> None:
        self.inbox = inbox
        self._views = views
        self._recent = recent
        self._timings = timings
        self._listeners = listeners
        self._ahead = ahead
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        backbones: dict[str, Backbone] = {
            view.classifier.backbone.backbone_id: view.classifier.backbone for view in views
        }
        self._probes = {key: Probe(backbone) for key, backbone in backbones.items()}
        self._counting = threading.Lock()
        self._counts: dict[str, Counter[Source]] = {
            name: Counter() for name in SourceCounts.__slots__ if name != "dropped"
        }
        self._not_finite = 0
        self._classified = -FRESH_S  # when the last frame was, monotonic

    def looking(self, camera: str, source: Source, task: str | None = None, view: str | None = None) -> list[View]:
        """The views that look at a frame of that camera; of one task alone, or of that name.

        Raises UnknownTaskError where there is none, and counts the frame as ignored.
        """
        found = [
            each
            for each in self._views
            if each.camera in (None, camera) and task in (None, each.task) and view in (None, each.called(camera))
        ]
        if not found:
            self._count("ignored", source)
            raise UnknownTaskError(self._nobody(camera, task, view))
        return found

    def classify(
        self,
        frame: Frame,
        source: Source,
        views: Sequence[View] | None = None,
        *,
        top: int = TOP,
        wait_s: float | None = None,
        tentative: bool = False,
        fresh: bool = False,
    ) -> list[Result]:
        """Say what a frame shows, to each of `views`, or else to all that look at it.

        It waits for room in the inbox, at most `wait_s` seconds if they are given. What is `tentative` comes again if
        it is no good picture, and is not counted as bad before. Where it is to be `fresh`, nothing is passed by for
        showing nothing new.
        Raises ImageError for what is no good picture, BusyError where there was no room in time, and UnknownTaskError
        where nobody looks.
        """
        views = views or self.looking(frame.camera, source)
        try:
            self._check_size(frame.payload)
            room = partial(self.inbox.room, source, wait_s)
            seen = look(
                frame,
                views,
                self._timings,
                top=top,
                room=room,
                max_pixels=self._max_pixels,
                fresh=fresh,
                mapped=self._ahead.each,
            )
        except ImageError:
            if not tentative:
                self.count_bad(source)
            raise
        classified = [each for each in seen if not each.result.skipped]
        self._count("frames" if classified else "skipped", source)
        if classified:
            self._classified = time.monotonic()
        if not all(each.finite for each in classified):
            self._count_not_finite(frame)
        self._recent.remember(classified)
        for each in seen:
            for listener in self._listeners:
                listener(each)
        return [each.result for each in seen]

    def _nobody(self, camera: str, task: str | None, view: str | None) -> str:
        """That nobody looks, and who does where."""
        of = f"frames of the camera {camera[:40]!r}" if camera else "frames without the name of a camera"
        if task is None and view is None:
            there = ", ".join(dict.fromkeys(repr(each.camera) for each in self._views if each.camera is not None))
            return f"no task looks at {of}: the cameras that are looked at are {there}"
        asked = " and ".join(f"{kind} {name[:40]!r}" for kind, name in (("task", task), ("view", view)) if name)
        there = ", ".join(
            f"{each.name or 'all'} of the task {each.task or DEFAULT_TASK} at {each.camera or 'every camera'}"
            for each in self._views
            if task in (None, each.task)
        )
        return f"no view of {asked} looks at {of}: what looks is {there}"

    def count_bad(self, source: Source) -> None:
        """Count what was sent as a frame and holds no picture that could be classified."""
        self._count("bad_frames", source)

    def _count(self, name: str, source: Source) -> None:
        with self._counting:
            self._counts[name][source] += 1

    def trouble(self) -> str | None:
        """Why frames cannot be classified; None where they can. Tries it, if none was just now. Takes BUSY_S at most
        for each backbone, and the time of one frame."""
        if time.monotonic() - self._classified < FRESH_S:
            return None
        for key, probe in self._probes.items():
            heads = {id(head): head for view in self._views if (head := _head(view, key)) is not None}
            if (trouble := probe.trouble(BUSY_S, heads.values())) is not None:
                return trouble
        return None

    def total(self) -> int:
        """The frames that were classified, of all sources, since the start."""
        with self._counting:
            return sum(self._counts["frames"].values())

    def recent(self) -> list[list[Result]]:
        """The frames that can still be labelled, newest first: what each view said."""
        return self._recent.results()

    def counts(self) -> dict[Source, SourceCounts]:
        """Of every source that brought a frame."""
        with self._counting:
            counts = {name: dict(of) for name, of in self._counts.items()} | {"dropped": self.inbox.dropped}
        sources = sorted({source for of in counts.values() for source in of})
        return {source: SourceCounts(**{name: of.get(source, 0) for name, of in counts.items()}) for source in sources}

    @property
    def not_finite(self) -> int:
        """How many of the frames were unknown because no finite numbers came out for them."""
        with self._counting:
            return self._not_finite

    def status(self) -> dict[str, object]:
        """The sums over all sources, and each source alone."""
        counts = self.counts()
        sums = SourceCounts(*(sum(of) for of in zip(*map(astuple, counts.values()), strict=True))) if counts else NONE
        return {
            **sums.as_dict(),
            "not_finite": self.not_finite,
            "sources": {source: count.as_dict() for source, count in counts.items()},
        }

    def _count_not_finite(self, frame: Frame) -> None:
        """It is told of the first one: at night a camera may send nothing else."""
        with self._counting:
            self._not_finite += 1
            first = self._not_finite == 1
        if first:
            log.warning(
                "no finite numbers come out for the frame %s%s: such frames are unknown, and cannot be learnt; further "
                "ones are only counted (not_finite)",
                frame.frame_id,
                f" of the camera {frame.camera}" if frame.camera else "",
            )

    def _check_size(self, payload: bytes) -> None:
        if len(payload) > self._max_bytes:
            raise ImageError(f"the picture has more than {self._max_bytes} bytes, the limit (frames.max_bytes)")


def _head(view: View, backbone_id: str) -> Head | None:
    return view.classifier.head if view.classifier.backbone.backbone_id == backbone_id else None
