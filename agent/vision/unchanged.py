"""Whether a frame shows anything new: its tiny grey copy beside that of the last frame that was classified."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.records import Seen

CELLS = 16  # of the copy, across and down; one more where they do not divide the picture evenly
MAX_CAMERAS = 64  # whose last frames are kept: their names come from outside


class Last(NamedTuple):
    """A frame that was classified."""

    copy: NDArray[np.float32]
    at: float  # monotonic
    top: int  # predictions that were asked for
    seen: Seen


class Unchanged:
    """What one view saw last, of each camera. Thread-safe.

    A frame shows nothing new where no cell of its grey copy differs by more than `threshold`, a share of full
    brightness, from the last one that was classified; not from the last one that was passed by, or a slow change
    would never be seen. `at_most_s` seconds after that one every frame is classified.
    """

    def __init__(self, threshold: float, at_most_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._levels = threshold * 255.0
        self._at_most_s = at_most_s
        self._clock = clock
        self._last: OrderedDict[str, Last] = OrderedDict()
        self._lock = threading.Lock()

    def like(self, camera: str, copy: NDArray[np.float32], top: int, head: str | None) -> Seen | None:
        """What was seen when the same was to be seen, if that head said it; None where the frame is to be classified.

        copy: as grey_copy gives it. top: how many predictions are asked for."""
        with self._lock:
            last = self._last.get(camera)
        if last is None or last.top != top or last.seen.result.head != head or last.copy.shape != copy.shape:
            return None
        if self._clock() - last.at >= self._at_most_s or np.abs(last.copy - copy).max() > self._levels:
            return None
        return last.seen

    def keep(self, camera: str, copy: NDArray[np.float32], top: int, seen: Seen) -> None:
        """A frame was classified."""
        with self._lock:
            self._last[camera] = Last(copy, self._clock(), top, seen)
            self._last.move_to_end(camera)
            if len(self._last) > MAX_CAMERAS:
                self._last.popitem(last=False)


def grey_copy(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The mean brightness, 0 to 255, of about CELLS x CELLS cells of RGB pixels [height, width, 3]."""
    height, width = image.shape[:2]
    rows = _bands(image.reshape(height, -1))
    cells = _bands(rows.reshape(len(rows), width, -1).sum(2).T).T
    pixels = max(1, height // CELLS) * max(1, width // CELLS)
    copy: NDArray[np.float32] = (cells / (3.0 * pixels)).astype(np.float32)
    return copy


def _bands(values: NDArray[np.integer]) -> NDArray[np.uint32]:
    """The sums of CELLS bands of equally many rows, and of as many at the end where some are left over."""
    step = max(1, len(values) // CELLS)
    whole = len(values) // step
    bands: NDArray[np.uint32] = values[: whole * step].reshape(whole, step, -1).sum(1, dtype=np.uint32)
    if len(values) % step:
        bands = np.vstack([bands, values[-step:].sum(0, dtype=np.uint32)[np.newaxis]])
    return bands
