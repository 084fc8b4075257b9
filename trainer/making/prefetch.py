"""An input pipeline: what a device will need next is made by threads meanwhile."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")

AHEAD = 4  # batches a worker: bounded, and enough to bridge a slow one


class Prefetched(Generic[T]):
    """`make(first)`, `make(first + 1)`, … in that order, some of them made ahead by `workers` threads.

    `make` must be a function of its number alone. As a context manager it stops its threads at the end.
    """

    def __init__(self, make: Callable[[int], T], first: int, workers: int) -> None:
        self._make, self._number = make, first
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="batch")
        self._ahead: deque[Future[T]] = deque()
        for _ in range(AHEAD * workers):
            self._submit()

    def __enter__(self) -> "Prefetched[T]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def next(self) -> T:
        """The next one, waited for if need be; raises what making it raised."""
        made = self._ahead.popleft().result()
        self._submit()
        return made

    def _submit(self) -> None:
        self._ahead.append(self._pool.submit(self._make, self._number))
        self._number += 1
