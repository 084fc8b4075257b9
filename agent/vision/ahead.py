"""What several views of a frame need, made while the backbone is at work for those before them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Ahead:
    """A thread named `ahead`, which begins with the first frame of several crops. Thread-safe.

    Of one frame no more waits for it than that has crops, and no more frames are under way than the inbox holds.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")

    def each(self, do: Callable[[T], U], what: Sequence[T]) -> Iterator[U]:
        """As `map`: the first in the thread that asks; from then on the others, one after another, in ours."""
        first = do(what[0])
        others = self._pool.map(do, what[1:])
        yield first
        yield from others

    def stop(self) -> None:
        """What waits is given up; what is being made, of one crop, takes its milliseconds."""
        self._pool.shutdown(cancel_futures=True)
