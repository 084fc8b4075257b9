"""Room for frames: a bounded number may be under way; the rest waits outside, or is dropped and counted."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from agent.errors import BusyError, ImageError
from agent.records import Source


class Inbox:
    """Room for `capacity` frames, whoever brings them, and for the memory that their pictures take. Thread-safe.

    All together they take `decoding_bytes` at most. What takes more than a sixteenth of it is large: one such picture
    is decoded at a time, and may take three quarters. The rest is for small ones, which never wait for a large one.
    """

    def __init__(self, capacity: int, decoding_bytes: int) -> None:
        self.capacity = capacity
        self._small, self._for_small, self._for_large = (decoding_bytes * share // 16 for share in (1, 4, 12))
        self._frames = 0  # under way
        self._small_bytes, self._large_bytes = 0, 0  # that they take
        self._dropped: Counter[Source] = Counter()
        self._changed = threading.Condition()
        self._counting = threading.Lock()

    @property
    def dropped(self) -> dict[Source, int]:
        """The frames of each source that found no room."""
        with self._counting:
            return dict(self._dropped)

    def drop(self, source: Source) -> None:
        """Count a frame that is given up."""
        with self._counting:
            self._dropped[source] += 1

    @contextmanager
    def room(self, source: Source, wait_s: float | None, decoding_bytes: int) -> Iterator[None]:
        """Room for one frame while the block runs, whose picture takes so many bytes of memory.

        Raises BusyError, and counts the frame as dropped, where there is none within `wait_s` seconds; None waits.
        Raises ImageError for a picture that takes more than there ever is.
        """
        if decoding_bytes > self._for_large:
            raise ImageError(
                f"the picture would take {decoding_bytes} bytes of memory while it is decoded, the limit is "
                f"{self._for_large} (three quarters of frames.decoding_bytes): scale it down, or send a JPEG"
            )
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_room(decoding_bytes), wait_s):
                self.drop(source)
                raise BusyError(
                    f"{self._frames} frames are under way already, whose pictures take "
                    f"{self._small_bytes + self._large_bytes} bytes of memory: send fewer, or smaller ones, or wait a "
                    "second"
                )
            self._count(1, decoding_bytes)
        try:
            yield
        finally:
            with self._changed:
                self._count(-1, -decoding_bytes)
                self._changed.notify_all()

    def _has_room(self, more: int) -> bool:
        if self._frames >= self.capacity:
            return False
        return self._small_bytes + more <= self._for_small if more <= self._small else self._large_bytes == 0

    def _count(self, frames: int, bytes_taken: int) -> None:
        self._frames += frames
        if abs(bytes_taken) <= self._small:
            self._small_bytes += bytes_taken
        else:
            self._large_bytes += bytes_taken
