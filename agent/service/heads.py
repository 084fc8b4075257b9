"""Which head is in service: the store says it, the classifier follows."""

import logging
import threading
from typing import Any

from agent.errors import LastlayerError
from agent.learning.heads.store import HeadStore
from agent.reporting.announcer import Announcer
from agent.vision.classifier import Classifier

log = logging.getLogger(__name__)


class Heads:
    """Thread-safe. `error` is why the store's active head is not in service, if it is not; `summary` is what is known
    of the one in service, in short."""

    def __init__(self, store: HeadStore, classifier: Classifier, announcer: Announcer, task: str = "") -> None:
        """`task` is what the results call it."""
        self.error: str | None = None
        self.summary: dict[str, Any] | None = None
        self._store = store
        self._classifier = classifier
        self._announcer = announcer
        self._task = task
        self._following = threading.Lock()

    @property
    def in_service(self) -> str | None:
        """The version of the head that answers."""
        return self._classifier.head_version

    def list(self) -> dict[str, Any]:
        """Those in the store, and which of them is in service; with `error`, if that one is not to be had."""
        listing = self._store.listing()
        error = listing.error or self.error
        return {"active": listing.active, "heads": listing.heads, **({"error": error} if error else {})}

    def report(self, version: str) -> dict[str, Any]:
        """All that is known of one. Raises UnknownHeadError, and DamagedError where its report is damaged."""
        return self._store.report(version)

    def activate(self, version: str, *, force: bool = False) -> None:
        """Raises UnknownHeadError, MismatchError and DamagedError for a head that cannot serve, and RefusedHeadError
        for one that the gate refused, unless `force` is said."""
        self._store.activate(version, force=force)
        self.follow_store()

    def rollback(self) -> str | None:
        """Return to the head that was in service before; its version. None as HeadStore.rollback gives it.

        Raises UnknownHeadError where there is none.
        """
        version = self._store.rollback()
        self.follow_store()
        return version

    def follow_store(self) -> None:
        """Put the store's active head into service, whoever made it so; without it, go on with the one before."""
        with self._following:  # so that no head overtakes the one that was activated after it, nor what is told of it
            try:
                version = self._store.active()
                if version is None or version == self.in_service:
                    self.error = None
                    return
                self._classifier.put_into_service(version, self._store.load_for_service(version))
                self.error = None
                log.info("head %s%s is in service", version, f" of the task {self._task}" if self._task else "")
                self.summary = self._store.summary(version)
                self._announcer.head(self.summary, self._task)
            except LastlayerError as error:
                if str(error) != self.error:  # said once, not at every look
                    log.error("the active head cannot be put into service: %s", error)
                self.error = str(error)
