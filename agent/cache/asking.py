"""What can be asked of a cache, by the one process that writes it and by all that read it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.cache.contents import Contents
from agent.cache.flash.layout import Layout
from agent.cache.reading import CachedExamples, page
from agent.errors import StateError
from agent.learning.pictures.bursts import Bursts
from agent.records import Example, Split


class Askable:
    """Examples in a folder.

    Attributes: `layout`; `torn` and `rotten` count the records and lines that were cut off or skipped when it was
    opened. Thread-safe.
    """

    def __init__(self, folder: Path, layout: Layout, contents: Contents) -> None:
        self.layout = layout
        self.torn, self.rotten = contents.torn, contents.rotten
        self._folder = folder
        self._contents = contents
        self._lock = threading.RLock()  # guards the contents

    def __len__(self) -> int:
        with self._lock:
            return self._contents.count

    def __contains__(self, frame_id: str) -> bool:
        return self.label_of(frame_id) is not None

    def label_of(self, frame_id: str) -> str | None:
        """The label of a frame; None where no example has that frame id."""
        with self._lock:
            return self._contents.label_of(frame_id)

    def label_counts(self) -> dict[str, int]:
        """Examples of each label, in the order in which the labels came."""
        with self._lock:
            return self._contents.label_counts()

    def split_counts(self) -> dict[str, dict[str, int]]:
        """Examples of each label in each split, as they were decided when they came."""
        with self._lock:
            return self._contents.split_counts()

    def examples(self) -> CachedExamples:
        """All examples as a training reads them; a view that later changes do not touch.

        A label with few examples trains on those too that its hash put aside: see `lent`. Raises StateError where the
        cache cannot be read.
        """
        with self._reading():
            return CachedExamples(self.layout, list(self._contents.parts), self._contents.names.by_label())

    def page(self, start: int, most: int) -> tuple[list[Example], int | None]:
        """The first `most` examples by their frame ids from `start` on; rotten ones are left out.

        With them, the `start` of the next page; None behind the last. Who turns the pages gets each example once,
        whatever is added or compacted meanwhile. Raises StateError where flash cannot be read.
        """
        with self._reading():
            return page(self._contents, self.layout, start, most)

    def frame_ids(self, since_ms: int = 0) -> NDArray[np.uint64]:
        """[n] those of all examples whose frames came then or later, in the order in which they are stored."""
        with self._lock:
            return self._contents.frame_ids(since_ms)

    def latest_ms(self) -> int:
        """When the last of its frames came; 0 where there is none."""
        with self._lock:
            return self._contents.latest_ms()

    def groups(self) -> NDArray[np.uint64]:
        """The groups [n] that its examples belong to, ascending."""
        with self._lock:
            return self._contents.groups()

    def goes_aside(self, frame_id: str, said: Split | None) -> bool:
        """Whether there is an example of a frame that somebody puts into val or test now, and nobody did before."""
        with self._lock:
            before = self._contents.split_of(frame_id) if said in ("val", "test") else None
        return before is not None and before not in (("val", True), ("test", True))

    def set_aside(self) -> NDArray[np.uint64]:
        """The groups [m], ascending, of what somebody put into val or test; those of even pictures are left out."""
        with self._lock:
            return self._contents.set_aside()

    def held_back(self) -> int:
        """How many examples neither train nor judge, because they look like what somebody put into val or test."""
        with self._lock:
            return self._contents.held_back()

    def bursts(self) -> Bursts:
        """The groups of its examples, as they are now."""
        with self._lock:
            return self._contents.bursts()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """With the lock held. Raises StateError where flash refuses."""
        try:
            with self._lock:
                yield
        except StateError:
            raise
        except OSError as error:
            raise StateError(f"the cache {self._folder} cannot be read: {error.strerror or error}") from error
