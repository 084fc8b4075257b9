"""Looking after the caches in the background: compaction within its budget, and the counts of what was written."""

import contextlib
import logging
import os
import threading
from collections.abc import Sequence

from agent.cache import Cache
from agent.errors import StateError

log = logging.getLogger(__name__)

EVERY_S = 30.0
NICENESS = 15


class Upkeep:
    """A thread named `cache-upkeep`, of low priority, for all caches of a board. Stopped before they are closed."""

    def __init__(self, caches: Sequence[Cache], every_s: float = EVERY_S) -> None:
        self._caches = caches
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cache-upkeep", daemon=True)
        self._errors: dict[Cache, str] = {}

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """A compaction that is under way is given up; it leaves nothing behind."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # a sandbox may forbid it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while not self._stopping.wait(self._every_s):
            for cache in self._caches:
                self._look_after(cache)

    def _look_after(self, cache: Cache) -> None:
        try:
            while cache.compact(self._stopping.is_set):
                pass
            cache.wear.save()
            self._errors.pop(cache, None)
        except StateError as error:
            if str(error) != self._errors.get(cache):  # said once, not at every try
                log.warning("the cache is not compacted: %s", error)
            self._errors[cache] = str(error)
        except Exception:
            log.exception("the upkeep of the cache failed")
