"""All that the daemon does for those who ask."""

import time
from dataclasses import dataclass, field
from typing import Any

import agent
from agent.learning.running.pausing import Pausing
from agent.records import Frame, Result, Source, Split
from agent.reporting.announcer import Announcer
from agent.reporting.timing import Timings
from agent.service.exchange import Exchange
from agent.service.heads import Heads
from agent.service.seeing import Seeing
from agent.service.teaching import Teaching
from agent.vision.classifier import TOP


@dataclass(frozen=True)
class Service:
    """Thread-safe."""

    seeing: Seeing
    teaching: Teaching
    heads: Heads
    exchange: Exchange
    pausing: Pausing
    timings: Timings
    announcer: Announcer
    started: float = field(default_factory=time.monotonic)

    def classify(
        self,
        frame: Frame,
        source: Source,
        *,
        label: str | None = None,
        split: Split | None = None,
        new_label: bool = False,
        top: int = TOP,
        wait_s: float | None = None,
    ) -> Result:
        """Say what a frame shows and, where it comes with a label, remember it, in that split if one is named.

        Raises what Seeing.classify and Teaching.spelt raise, and StateError where a label cannot be written to flash.
        """
        label = self.teaching.spelt(label, new=new_label) if label is not None else None
        result = self.seeing.classify(frame, source, top=top, wait_s=wait_s)
        if label is not None:
            self.teaching.label(result.frame_id, label, split, new=new_label)
        return result

    def phases(self) -> dict[str, Any]:
        """The timings of every phase since the start."""
        return {"phases": [report.as_dict() for report in self.timings.since_start()]}

    def trouble(self) -> str | None:
        """Why frames cannot be classified just now; None where they can."""
        return self.seeing.trouble()

    def summary(self) -> str:
        """One line of it for a person."""
        head = f"head {self.heads.in_service}" if self.heads.in_service else "no head yet"
        return f"{head}, {self.teaching.status()['examples']} examples, {self.seeing.total()} frames since the start"

    def counters(self) -> dict[str, int]:
        """What was counted since the start, and how many examples there are."""
        sums = {name: count for name, count in self.seeing.status().items() if isinstance(count, int)}
        return {**sums, "examples": sum(self.teaching.label_counts().values())}

    def status(self) -> dict[str, Any]:
        return {
            "version": agent.__version__,
            "node": self.timings.node,
            "backbone": self.seeing.classifier.backbone.bundle.name,
            "head": self.heads.in_service,
            "head_error": self.heads.error,
            **self.seeing.status(),
            **self.teaching.status(),
            "mqtt": self.announcer.status(),
            "uptime_s": round(time.monotonic() - self.started, 3),
        }
