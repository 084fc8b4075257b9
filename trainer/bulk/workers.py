"""Blocks of pictures to the workers of a cluster, answers back."""

import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from agent.errors import ServiceError
from agent.reporting.timing import Timer
from trainer.bulk.embedding import Embedded, PackedBackbone, Picture, joined
from trainer.cluster import Client, KilledWorker, WorkerPlugin, deaf_processes, get_worker, in_our_words

IN_FLIGHT = 4  # blocks for each worker: one is worked on, some wait, and one that is slow keeps nobody idle
GONE_S = 60.0  # without any worker: then none will come back; one that was killed takes a while on a busy machine
_RETRIES = 3  # of a block that failed for a reason of its worker


class _Backbone(WorkerPlugin):  # type: ignore[misc]
    """Brings the backbone to every worker, also to one that comes later."""

    def __init__(self, name: str, packed: PackedBackbone) -> None:
        self.name = name
        self.packed = packed

    def setup(self, worker: Any) -> None:
        pass


def _embed(name: str, pictures: Sequence[Picture]) -> Embedded:
    return get_worker().plugins[name].packed.embedder()(pictures)  # type: ignore[no-any-return]


def _embed_apart(packed: PackedBackbone, pictures: Sequence[Picture]) -> Embedded:
    return packed.embedder()(pictures)


class Workers:
    """The workers of a cluster, with a backbone each."""

    def __init__(
        self, client: Client, packed: PackedBackbone, timings: Timer, alone: Callable[[str], Embedded]
    ) -> None:
        """`alone` makes the answer for a picture that ends every process that takes it. Raises ServiceError."""
        self._client = client
        self._packed = packed
        self._name = f"lastlayer-{id(self):x}"
        self._timings = timings
        self._alone = alone
        with in_our_words():
            client.register_plugin(_Backbone(self._name, packed))

    def answers(self, blocks: Iterable[Sequence[Picture]]) -> Iterator[Embedded]:
        """To each block, in their order. Raises ServiceError.

        At most IN_FLIGHT blocks a worker are out at any time, so that memory is bounded here and there.
        """
        out: deque[tuple[Sequence[Picture], Any]] = deque()
        with in_our_words():
            most = self._most()
            for number, block in enumerate(blocks, 1):
                task = self._client.submit(_embed, self._name, block, pure=False, retries=_RETRIES)
                out.append((block, task))
                if number % most == 0:
                    most = self._most()  # workers come and go
                while len(out) >= most:
                    yield self._answer(*out.popleft())
            while out:
                yield self._answer(*out.popleft())

    def _most(self) -> int:
        threads: int = sum(self._client.nthreads().values())
        return max(2, IN_FLIGHT * threads)

    def _answer(self, block: Sequence[Picture], task: Any) -> Embedded:
        with self._timings.phase("wait", images=len(block)):
            try:
                answer = self._result(task)
            except KilledWorker:  # by one of these pictures, or by something else
                answer = self._apart(block)
        return answer

    def _result(self, task: Any) -> Embedded:
        """Raises KilledWorker, and ServiceError where there has been nobody for a while to do it."""
        last_seen = time.monotonic()
        while True:
            try:
                return task.result(timeout=GONE_S / 4)  # type: ignore[no-any-return]
            except TimeoutError:
                now = time.monotonic()
                if self._client.nthreads():
                    last_seen = now
                elif now - last_seen > GONE_S:
                    raise ServiceError("all workers are gone: run the same command again, to go on") from None

    def _apart(self, block: Sequence[Picture]) -> Embedded:
        """In a process of its own; a block that ends it is halved until the picture that does so is found."""
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            with deaf_processes():
                task = pool.submit(_embed_apart, self._packed, block)
            try:
                return task.result()
            except BrokenProcessPool:
                pass
        if len(block) == 1:
            return self._alone("it ends the process that decodes it")
        middle = len(block) // 2
        return joined(self._apart(block[:middle]), self._apart(block[middle:]))
