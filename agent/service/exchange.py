"""What goes between this board and a desktop: its examples there, heads and backbones here."""

import json
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.board.child import ONE_THREAD, Child, environment
from agent.cache import Cache
from agent.errors import BundleError, BusyError, LastlayerError, ParcelError, RefusedHeadError, StateError
from agent.reporting.host import lower_priority
from agent.service.heads import Heads
from agent.state import generations
from agent.state.parcels import PAGE_EXAMPLES, Page, pack_page

TAKING_HEAD_S = 120.0  # judged on two thousand examples of a thousand labels on a slow board, with room
TAKING_BACKBONE_S = 240.0  # which is loaded and run in a process of its own, that has 120 s

_KINDS: dict[int, type[LastlayerError]] = {kind.exit_code: kind for kind in (ParcelError, BundleError)}


class Exchange:
    """Thread-safe. One thing is taken in at a time, by all who share `taking`; others raise BusyError.

    `state` holds the generations, `folder` is the one in use: when another is to be, the daemon begins anew with it.
    """

    def __init__(
        self,
        state: Path,
        folder: Path,
        cache: Cache,
        heads: Heads,
        *,
        node: str,
        margin: float,
        taking: threading.Lock,
    ) -> None:
        self._state = state
        self._folder = folder
        self._cache = cache
        self._heads = heads
        self._node = node
        self._margin = margin
        self._taking = taking
        self._child: Child | None = None

    def page(self, start: str = "0", most: int = PAGE_EXAMPLES) -> bytes:
        """A parcel of examples, from the frame id `start` (in hex) on. Raises ParcelError where that is none."""
        try:
            first = int(start, 16)
            if not 0 <= first < 1 << 64:
                raise ValueError
        except ValueError:
            raise ParcelError(f"a page starts with a frame id of 16 hex digits, not {start!r:.40}") from None
        examples, following = self._cache.page(first, min(most, PAGE_EXAMPLES))
        return pack_page(
            Page(self._node, self._cache.layout, examples, None if following is None else f"{following:016x}")
        )

    def take_head(self, parcel: bytes) -> dict[str, Any]:
        """Take a packed head in, into service if it passes the gate: `version`, `accepted`, `reason`.

        Nothing of what was sent is opened here: that is done in a child process, whose memory is bounded. Raises
        ParcelError, BusyError where it takes too long, StateError, and ChildError where no process can be started.
        """
        with self._one_at_a_time(), self._stored(parcel) as file:
            answer = self._answer(TAKING_HEAD_S, "heads", "take", file, "--margin", self._margin)
        self._heads.follow_store()
        return answer

    def take_backbone(self, parcel: bytes) -> dict[str, Any]:
        """Take a packed backbone in and use it: `bundle` and `in_use`. The daemon begins anew with it in a moment.

        As take_head. Raises BundleError too; then all is as it was.
        """
        with self._one_at_a_time(), self._stored(parcel) as file:
            name = self._answer(TAKING_BACKBONE_S, "models", "import", file)["bundle"]
            generations.use(self._state, name)
        return {"bundle": name, "in_use": name, "accepted": True}

    def models(self) -> dict[str, Any]:
        """The backbones of this state, and which is in use."""
        return {"in_use": generations.in_use(self._state), "models": generations.names(self._state)}

    def use(self, name: str) -> dict[str, Any]:
        """Raises UnknownBackboneError, BundleError, StateError."""
        with self._one_at_a_time():
            generations.use(self._state, name)
        return {"in_use": name}

    def rollback(self) -> dict[str, Any]:
        """Return to the backbone that was in use before. Raises UnknownBackboneError, StateError."""
        with self._one_at_a_time():
            return {"in_use": generations.rollback(self._state)}

    @property
    def is_outdated(self) -> bool:
        """Whether another generation is to be in use than the one that this daemon serves."""
        try:
            return generations.current(self._state) != self._folder
        except StateError:
            return False

    def stop(self) -> None:
        """Give up what is being judged; the head that was in service stays."""
        child = self._child
        if child is not None:
            child.kill()

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        if not self._taking.acquire(blocking=False):
            raise BusyError("something else is being taken in just now: try again in a moment")
        try:
            yield
        finally:
            self._taking.release()

    @contextmanager
    def _stored(self, parcel: bytes) -> Iterator[Path]:
        try:
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".", suffix=".parcel") as file:
                file.write(parcel)
                file.flush()
                yield Path(file.name)
        except LastlayerError:
            raise
        except OSError as error:
            raise StateError(f"{self._folder} cannot be written: {error.strerror or error}") from error

    def _answer(self, timeout: float, *words: object) -> dict[str, Any]:
        """What a command of ours says as JSON, in a child that lets everyone else go first."""
        command = [sys.executable, "-m", "agent", "--state", str(self._state), *map(str, words), "--json"]
        child = self._child = Child(command, environment(**ONE_THREAD))
        lower_priority(child.pid)
        try:
            ended = child.wait(timeout)
        except TimeoutError:
            raise BusyError(f"to look at it took more than {timeout:g} s, so it was not taken in: try again") from None
        finally:
            self._child = None
        if ended.code not in (0, RefusedHeadError.exit_code):
            # What is wrong with a parcel is the sender's business, also where it ended who looked; all else is ours.
            if ended.code < 0:
                raise ParcelError(f"the process that opened it was ended by signal {-ended.code}")
            kind = _KINDS.get(ended.code, StateError)
            raise kind(ended.last_words or f"the process that opened it ended with {ended.code}")
        answer: dict[str, Any] = json.loads(ended.stdout)
        return answer
