"""What several views of a frame need, made while the backbone is at work for those before them."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")
U = TypeVar("U")


class Ahead:
    """A thread named `ahead`, which begins with the first frame of several crops. Thread-safe.

    Of one frame no more waits for it than that has crops, and no more frames are under way than the inbox holds.
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._beginning = threading.Lock()

    def each(self, do: Callable[[T], U], what: Sequence[T]) -> Iterator[U]:
        """As `map`: the first in the thread that asks; from then on the others, one after another, in ours."""
        first = do(what[0])
        others = self._begun().map(do, what[1:]) if len(what) > 1 else ()
        yield first
        yield from others

    def stop(self) -> None:
        """What waits is given up; what is being made, of one crop, takes its milliseconds."""
        with self._beginning:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)

    def _begun(self) -> "ThreadPoolExecutor":
        from concurrent.futures import ThreadPoolExecutor  # not before: most boards have one view of a frame

        with self._beginning:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
            return self._pool
