"""The batches of a training: a walk over the corpus in which every step is a function of its number.

So threads can make meanwhile what a device will need next, and a training that was ended goes on with the very next
one.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from agent.errors import DatasetError
from trainer.making.corpus import Corpus
from trainer.making.lessons import Lessons
from trainer.making.views import augmented, crop, whole

T = TypeVar("T")
Batch = tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]  # images [B, H, W, 3] of 0..255, targets

AHEAD = 4  # batches a worker: bounded, and enough to bridge a slow one


class Batches:
    """`batches(step)`: random views of `batch` training pictures with their targets. For any number of threads.

    Every picture comes once an epoch, in an order that the seed and the epoch give; what does not fill a batch waits
    for another epoch. Raises DatasetError for a corpus without training pictures.
    """

    def __init__(
        self, corpus: Corpus, boxes: NDArray[np.float32], taught: Lessons | None, size: int, batch: int, seed: int
    ) -> None:
        self.corpus, self.boxes, self.taught, self.size, self.batch, self.seed = (
            corpus,
            boxes,  # [N, views, 4]
            taught,
            size,  # pixels
            batch,
            seed,
        )
        self.rows = corpus.train_rows
        if not len(self.rows):
            raise DatasetError("the corpus holds pictures for validation only: nothing to train on")
        self.steps = max(1, len(self.rows) // batch)  # an epoch
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def __call__(self, step: int) -> Batch:
        epoch, within = divmod(step, self.steps)
        rng = np.random.default_rng([self.seed, 1, step])
        chosen = np.resize(self._order(epoch), max(self.batch, len(self.rows)))
        chosen = chosen[within * self.batch : (within + 1) * self.batch]
        views = rng.integers(self.boxes.shape[1], size=self.batch)
        rows = self.rows[chosen]
        images = np.stack(
            [crop(self.corpus.pictures[r], self.boxes[r, v], self.size) for r, v in zip(rows, views, strict=True)]
        )
        targets = self.taught.targets(chosen, views) if self.taught else {}
        targets["classes"] = np.eye(len(self.corpus.labels), dtype=np.float32)[self.corpus.classes[rows]]
        return augmented(images, rng), targets

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, 0, epoch]).permutation(len(self.rows))


class Prefetched(Generic[T]):
    """`make(first)`, `make(first + 1)`, … in that order, some of them made ahead by `workers` threads.

    `make` must be a function of its number alone. `close` stops the threads.
    """

    def __init__(self, make: Callable[[int], T], first: int, workers: int) -> None:
        self._make, self._number = make, first
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="batch")
        self._ahead: deque[Future[T]] = deque()
        for _ in range(AHEAD * workers):
            self._submit()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def next(self) -> T:
        """The next one, waited for if need be; raises what making it raised."""
        made = self._ahead.popleft().result()
        self._submit()
        return made

    def _submit(self) -> None:
        self._ahead.append(self._pool.submit(self._make, self._number))
        self._number += 1


def validation_top1(network: object, corpus: Corpus, size: int, batch: int) -> float | None:
    """Share of the validation pictures whose own class scores highest; None without such pictures."""
    rows = corpus.validation_rows
    hits = 0
    for start in range(0, len(rows), batch):
        chunk = np.resize(rows[start : start + batch], batch)  # always as many: nothing is compiled twice
        images = np.stack([crop(corpus.pictures[row], whole(corpus.pictures[row]), size) for row in chunk])
        scores = network.predict_on_batch(images.astype(np.float32))["classes"]  # type: ignore[attr-defined]
        right = np.asarray(scores).argmax(axis=1) == corpus.classes[chunk]
        hits += int(right[: len(rows) - start].sum())
    return hits / len(rows) if len(rows) else None
