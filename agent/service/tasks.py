"""Tasks: the questions that are asked of frames, each with its own views, examples and heads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agent.cache import Cache
from agent.errors import UnknownFrameError, UnknownTaskError, UnnamedError
from agent.learning.running.retraining import Retraining
from agent.region import Cut
from agent.service.exchange import Exchange
from agent.service.heads import Heads
from agent.service.teaching import Teaching
from agent.vision.classifier import View


@dataclass(frozen=True)
class Task:
    """Thread-safe."""

    name: str
    views: Sequence[View]
    cache: Cache
    retraining: Retraining
    teaching: Teaching
    heads: Heads
    exchange: Exchange

    @property
    def said(self) -> str:
        """What results call it: "" where the configuration names no tasks."""
        return self.views[0].task

    @property
    def backbone(self) -> str:
        """The name of its bundle."""
        return self.views[0].classifier.backbone.bundle.name

    def cut(self, frame_id: str, view: str | None) -> Cut:
        """What a label is of, by the name of the view, or without it where only one can be meant.

        Raises UnknownTaskError for a view that is not there, and UnnamedError where several could be meant.
        """
        views = [each for each in self.views if view in (None, each.name)]
        views = views or [each for each in self.views if not each.name]  # called by the cameras of frames
        cuts = list(dict.fromkeys(each.cut for each in views))
        if not cuts:
            there = ", ".join(each.name for each in self.views)
            raise UnknownTaskError(f"the task {self.name} has no view {view!r:.60}: there are {there}")
        if len(cuts) > 1:
            cuts = [cut for cut in cuts if self.teaching.knows(frame_id, cut)] or cuts
        if len(cuts) > 1:
            there = ", ".join(each.name or repr(each.cut.region) for each in views if each.cut in cuts)
            raise UnnamedError(f"the task {self.name} has several views of this frame: say which with view: {there}")
        return cuts[0]

    def knows(self, frame_id: str) -> bool:
        """Whether it has seen a frame not long ago, or has an example of it."""
        return any(self.teaching.knows(frame_id, cut) for cut in {view.cut for view in self.views})

    def forget(self, frame_id: str) -> int:
        """Remove its examples of a frame; how many there were. On flash when this returns. Raises StateError."""
        return self.teaching.forget(frame_id, {view.cut for view in self.views})

    def status(self) -> dict[str, Any]:
        return {
            "backbone": self.backbone,
            "head": self.heads.in_service,
            "head_error": self.heads.error,
            **self.teaching.status(),
        }

    def described(self) -> dict[str, Any]:
        """Its status, and where it looks."""
        views = [
            {"name": each.name, "camera": each.camera, "region": list(each.cut.region), "rotate": each.cut.turned}
            for each in self.views
        ]
        return {**self.status(), "views": views}


class Tasks:
    """Those that there are. `are_named` says whether the configuration names them; else there is one."""

    def __init__(self, tasks: Sequence[Task], *, are_named: bool) -> None:
        self._tasks = {task.name: task for task in tasks}
        self.are_named = are_named

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    def one(self, name: str | None = None) -> Task:
        """The task of that name, or the only one. Raises UnknownTaskError, and UnnamedError where there are several."""
        there = ", ".join(self._tasks)
        if name is None:
            if len(self._tasks) > 1:
                raise UnnamedError(f"there are several tasks: say which with task: {there}")
            return next(iter(self._tasks.values()))
        if name not in self._tasks:
            raise UnknownTaskError(f"there is no task {name[:40]!r}: there is {there}")
        return self._tasks[name]

    def of_frame(self, frame_id: str, name: str | None = None) -> Task:
        """The task of that name, or the only one that knows the frame.

        Raises UnknownFrameError where none does, or a named one has not looked at a frame at which others have, and
        what `one` raises.
        """
        if name is None and len(self._tasks) > 1:
            knowing = [task for task in self if task.knows(frame_id)]
            if not knowing:
                raise UnknownFrameError(
                    f"the frame {frame_id[:32]!r} is not remembered by any task: send the picture again with its label"
                )
            if len(knowing) > 1:
                there = ", ".join(task.name for task in knowing)
                raise UnnamedError(f"several tasks looked at this frame: say which with task: {there}")
            return knowing[0]
        task = self.one(name)
        if not task.knows(frame_id) and (others := [other.name for other in self if other.knows(frame_id)]):
            raise UnknownFrameError(
                f"the task {task.name} did not look at the frame {frame_id}: {', '.join(others)} did"
            )
        return task
