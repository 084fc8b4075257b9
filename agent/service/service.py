"""All that the daemon does for those who ask."""

import time
from dataclasses import dataclass, field
from typing import Any

import agent
from agent.errors import UnknownFrameError, UnnamedError
from agent.learning.running.pausing import Pausing
from agent.records import NOTHING_SAID, Frame, Result, Said, Source
from agent.reporting.announcer import Announcer
from agent.reporting.timing import Timings
from agent.service.recent import RecentFrames
from agent.service.seeing import Seeing
from agent.service.tasks import Tasks
from agent.vision.classifier import TOP


@dataclass(frozen=True)
class Service:
    """Thread-safe."""

    seeing: Seeing
    tasks: Tasks
    recent: RecentFrames
    pausing: Pausing
    timings: Timings
    announcer: Announcer
    started: float = field(default_factory=time.monotonic)

    def classify(
        self, frame: Frame, source: Source, said: Said = NOTHING_SAID, *, top: int = TOP, wait_s: float | None = None
    ) -> list[Result]:
        """Say what a frame shows to each view that looks at it, of one task or of one name if those are said.

        Where a label is said it is remembered: then one view alone must be meant. Raises what Seeing.classify and
        Teaching.spelt raise, UnnamedError, and StateError where a label cannot be written to flash.
        """
        views = None
        if said != NOTHING_SAID:
            task = self.tasks.one(said.task).said if said.task is not None else None
            views = self.seeing.looking(frame.camera, source, task, said.view)
        if said.label is None or views is None:
            return self.seeing.classify(frame, source, views, top=top, wait_s=wait_s)
        if len(views) > 1:
            there = "; ".join(f"task={each.task}, view={each.called(frame.camera)}" for each in views)
            raise UnnamedError(f"{len(views)} views look at this frame, and a label is of one: say which: {there}")
        teaching = self.tasks.one(views[0].task or None).teaching
        label = teaching.spelt(said.label, new=said.new)
        (result,) = self.seeing.classify(frame, source, views, top=top, wait_s=wait_s, fresh=True)
        teaching.label(result.frame_id, label, said.split, cut=views[0].cut, new=said.new)
        return [result]

    def label(
        self,
        frame_id: str,
        text: object,
        *,
        task: str | None = None,
        view: str | None = None,
        new: bool = False,
    ) -> str:
        """Remember what a frame shows that came before; the label as stored. On flash when this returns.

        Task and view may be left out where one alone knows the frame. Raises what Teaching.label, Tasks.of_frame and
        Task.cut raise.
        """
        meant = self.tasks.of_frame(frame_id, task)
        return meant.teaching.label(frame_id, text, cut=meant.cut(frame_id, view), new=new)

    def forget(self, frame_id: str) -> int:
        """Remove what is known of a frame, its examples too; how many it had. On flash when this returns.

        Raises UnknownFrameError where nothing is known, and StateError where flash cannot be written.
        """
        remembered = self.recent.forget(frame_id)
        deleted = sum(task.forget(frame_id) for task in self.tasks)
        if not (remembered or deleted):
            raise UnknownFrameError(f"the frame {frame_id[:32]!r} is not known: no example is of it")
        return deleted

    @property
    def is_outdated(self) -> bool:
        """Whether a task is to have another backbone than the one that this daemon serves."""
        return any(task.exchange.is_outdated for task in self.tasks)

    def phases(self) -> dict[str, Any]:
        """The timings of every phase since the start."""
        return {"phases": [report.as_dict() for report in self.timings.since_start()]}

    def trouble(self) -> str | None:
        """Why frames cannot be classified just now; None where they can."""
        return self.seeing.trouble()

    def summary(self) -> str:
        """One line of it for a person."""
        heads = [
            f"{f'{task.name}: ' if self.tasks.are_named else ''}"
            f"{f'head {task.heads.in_service}' if task.heads.in_service else 'no head yet'}"
            for task in self.tasks
        ]
        return f"{', '.join(heads)}, {self._examples()} examples, {self.seeing.total()} frames since the start"

    def counters(self) -> dict[str, int]:
        """What was counted since the start, and how many examples there are."""
        sums = {name: count for name, count in self.seeing.status().items() if isinstance(count, int)}
        return {**sums, "examples": self._examples()}

    def described_tasks(self) -> dict[str, Any]:
        """Each task by its name: its status, and where it looks."""
        return {task.name: task.described() for task in self.tasks}

    def status(self) -> dict[str, Any]:
        """Where the configuration names tasks, what is of each stands below `tasks`."""
        of_tasks: dict[str, Any] = {"examples": self._examples(), "tasks": self.described_tasks()}
        return {
            "version": agent.__version__,
            "node": self.timings.node,
            **self.seeing.status(),
            **(of_tasks if self.tasks.are_named else self.tasks.one().status()),
            "mqtt": self.announcer.status(),
            "uptime_s": round(time.monotonic() - self.started, 3),
        }

    def _examples(self) -> int:
        return sum(sum(task.teaching.label_counts().values()) for task in self.tasks)
