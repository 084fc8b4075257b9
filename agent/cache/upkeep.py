"""Looking after the cache in the background: compaction within its budget, and the counts of what was written."""

import contextlib
import logging
import os
import threading

from agent.cache import Cache
from agent.errors import StateError

log = logging.getLogger(__name__)

EVERY_S = 30.0
NICENESS = 15


class Upkeep:
    """A thread named `cache-upkeep`, of low priority. Stopped before the cache is closed."""

    def __init__(self, cache: Cache, every_s: float = EVERY_S) -> None:
        self._cache = cache
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cache-upkeep", daemon=True)
        self._error = ""

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
            try:
                while self._cache.compact(self._stopping.is_set):
                    pass
                self._cache.wear.save()
                self._error = ""
            except StateError as error:
                if str(error) != self._error:  # said once, not at every try
                    log.warning("the cache is not compacted: %s", error)
                self._error = str(error)
            except Exception:
                log.exception("the upkeep of the cache failed")
