"""A corpus computed: into a state, on TFLite workers or by a Keras model; or only measured."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from agent.cache import Cache, Layout
from agent.errors import StateError
from agent.learning.pictures.labelled import LabelledPicture
from agent.reporting.timing import Stopwatch, Timings
from agent.state.state import open_state
from trainer.bulk.bottlenecks import Collector, block_for, collect, named, sent
from trainer.bulk.embedding import Embedded, PackedBackbone, unreadable
from trainer.bulk.keras_backbone import KerasBackbone
from trainer.bulk.ledger import Ledger
from trainer.bulk.scaling import Run
from trainer.bulk.workers import Workers
from trainer.cluster import connected

OnPictures = Callable[[int], object]


class Gauge:
    """Measures a run from the answer on at which all workers are busy."""

    def __init__(self, workers: int) -> None:
        self.watch = Stopwatch()  # of the one process: its waiting
        self._workers = workers
        self._answers = self._pictures = 0
        self._worker_s = self._began = self._ended = self._waited_ms = 0.0

    def took(self, answer: Embedded) -> None:
        self._answers += 1
        self._ended = time.monotonic()
        if self._answers <= self._workers:
            self._began, self._waited_ms = self._ended, self.watch.ms.get("wait", 0.0)
        else:
            self._pictures += len(answer.frame_ids)
            self._worker_s += answer.seconds

    def finished(self) -> None:
        """After the last commit."""
        self._ended = time.monotonic()

    def run(self) -> Run | None:
        """None where there was too little to measure."""
        if not self._pictures:
            return None
        waiting_s = (self.watch.ms.get("wait", 0.0) - self._waited_ms) / 1000
        return Run(self._workers, self._pictures, self._ended - self._began, waiting_s, self._worker_s)


class Computation:
    """Of the bottlenecks of `pictures`, which are in the order of bottlenecks.in_order, into the state `out`."""

    def __init__(
        self, out: Path, pictures: Sequence[LabelledPicture], timings: Timings, on_pictures: OnPictures
    ) -> None:
        self.out = out
        self.run: Run | None = None  # how fast it was
        self._pictures = pictures
        self._timings = timings
        self._on_pictures = on_pictures

    def on_workers(self, backbone: str | None, workers: int, scheduler: str | None, in_archive: bool = False) -> Ledger:
        """On TFLite. Raises BundleError, MismatchError, StateError, ServiceError."""
        state = open_state(self.out, backbone)
        loaded = state.backbone()
        packed = PackedBackbone(state.bundle, loaded.backbone_id)
        with state.cache(loaded) as cache:
            ledger = self._ledger(cache)
            if ledger.account.done < len(self._pictures):
                blocks = sent if scheduler is not None or in_archive else named
                with connected(workers, scheduler) as client:
                    count = sum(client.nthreads().values())
                    gauge = Gauge(count)
                    left = self._left(ledger)
                    alone = partial(unreadable, loaded.size, loaded.dtype)
                    pool = Workers(client, packed, gauge.watch, alone)
                    self._collect(cache, ledger, pool.answers(blocks(left, block_for(len(left), count))), gauge)
        return ledger

    def by_keras(self, model: Path, side: int | None, batch: int, threads: int) -> Ledger:
        """Batched, by a Keras model; for `side` see KerasBackbone.

        Raises ConfigError and BundleError for a model that is no backbone, and StateError.
        """
        backbone = KerasBackbone(model, self._timings, side)
        layout = Layout.of(backbone.backbone_id, backbone.size, "float32", 1.0, 0)
        with Cache(self.out / "cache", layout) as cache:
            ledger = self._ledger(cache)
            gauge = Gauge(1)
            blocks = named(self._left(ledger), batch)
            self._collect(cache, ledger, backbone.answers(blocks, threads), gauge)
        return ledger

    def _ledger(self, cache: Cache) -> Ledger:
        ledger = Ledger(self.out, self._pictures, cache.latest_ms())
        self._on_pictures(ledger.account.done)
        return ledger

    def _left(self, ledger: Ledger) -> Sequence[LabelledPicture]:
        return self._pictures[ledger.account.done :]

    def _collect(self, cache: Cache, ledger: Ledger, answers: Iterator[Embedded], gauge: Gauge) -> None:
        collector = Collector(cache, ledger, self._pictures, self._timings)

        def gauged() -> Iterator[Embedded]:
            for answer in answers:
                yield answer
                gauge.took(answer)  # once it is taken

        try:
            collect(gauged(), collector, self._on_pictures)
            gauge.finished()
        except StateError as error:
            raise StateError(f"{error}; make room, and run the same command again: it goes on where it was") from error
        self.run = gauge.run()
