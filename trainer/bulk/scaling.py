"""What more workers gain: a model of two numbers, measured.

Workers take `work_ms` for a picture, each by itself; the one process that appends takes `serial_ms` for it, meanwhile.
So n workers give min(n / work_ms, 1 / serial_ms) pictures a millisecond: a pipeline, as fast as its slower part.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agent.measuring import study
from agent.measuring.report import duration, hours
from agent.terminal import columns

MANY = 64


@dataclass(frozen=True)
class Run:
    """What was measured with so many workers, once all of them were busy."""

    workers: int
    pictures: int
    seconds: float
    waiting_s: float  # that the appending process had nothing to do
    worker_s: float  # of all workers together, on these pictures

    @property
    def rate(self) -> float:
        """Pictures a second."""
        return self.pictures / self.seconds


@dataclass(frozen=True)
class Model:
    work_ms: float
    serial_ms: float

    def rate(self, workers: int) -> float:
        """Pictures a second."""
        return 1000 * min(workers / self.work_ms, 1 / self.serial_ms)

    @property
    def most_workers(self) -> float:
        """More would wait for the one that appends."""
        return self.work_ms / self.serial_ms


def fitted(runs: Sequence[Run]) -> Model:
    """From the run with the fewest workers: there the two parts disturb each other least.

    What is lost between the processes counts as work of the workers, as it does for whoever waits.
    """
    run = min(runs, key=lambda run: run.workers)
    serial_ms = max(run.seconds - run.waiting_s, 1e-9) / run.pictures * 1000
    return Model(max(run.seconds * run.workers, run.worker_s) / run.pictures * 1000, serial_ms)


def as_dict(runs: Sequence[Run]) -> dict[str, Any]:
    """Fit for JSON: what was measured, the model, and what it says of the study's corpora."""
    model = fitted(runs)
    one = next((run.rate for run in runs if run.workers == 1), None)  # without it no speed-up was measured
    counts = sorted({run.workers for run in runs} | {1, 2, MANY})
    return {
        "measured": [
            {**asdict(run), "pictures_per_s": run.rate, "speed_up": run.rate / one if one else None} for run in runs
        ],
        "model": {**asdict(model), "most_workers": model.most_workers},
        "projected": [
            {
                "workers": count,
                "pictures_per_s": model.rate(count),
                "corpus_h": {k: k * study.IMAGES_A_CLASS / model.rate(count) / 3600 for k in study.CLASSES},
            }
            for count in counts
        ],
        "study": {column.name: dict(column.corpus_h) for column in study.COLUMNS},
    }


def text(figures: dict[str, Any]) -> str:
    """The same for a person."""
    model = figures["model"]
    rows = [["workers", "pictures/s", "speed-up", *(f"{k} classes" for k in study.CLASSES)]]

    def row(name: str, rate: float, gain: str) -> list[str]:
        times = [duration(k * study.IMAGES_A_CLASS / rate * 1000) for k in study.CLASSES]
        return [name, f"{rate:.4g}", gain, *times]

    for run in figures["measured"]:
        gain = "" if run["speed_up"] is None else f"{run['speed_up']:.2f}"
        rows.append(row(f"{run['workers']}, measured", run["pictures_per_s"], gain))
    single = figures["projected"][0]["pictures_per_s"]
    for projected in figures["projected"]:
        rate = projected["pictures_per_s"]
        rows.append(row(f"{projected['workers']}, by the model", rate, f"{rate / single:.2f}"))
    for column in study.COLUMNS:
        rows.append([f"the study's {column.name}", "", "", *(hours(column.corpus_h[k]) for k in study.CLASSES)])
    return (
        f"{columns(rows)}\n\n"
        f"The model: a picture takes a worker {duration(model['work_ms'])}, and the one process that appends "
        f"{duration(model['serial_ms'])}\nmeanwhile: beyond {model['most_workers']:.0f} workers that one is the limit. "
        f"Classes have {study.IMAGES_A_CLASS} pictures. Workers on other machines also\nwait for the network, which "
        "is not in it. The study ran Inception v3 at 299 px: not the same work."
    )
