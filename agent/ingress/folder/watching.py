"""The watched folder: pictures that are put into it are classified, and then deleted, moved or kept.

The truth is what a scan finds; inotify only tells sooner. A file is taken when it was
closed after writing, or moved here, and else when two scans in a row find it
unchanged: after an overflow of inotify's queue, on a network file system, at the
start. The files are the queue: the kernel's is bounded, and there is no other.
"""

import heapq
import logging
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol

from agent.config import FolderConfig
from agent.errors import ImageError, LabelError
from agent.ingress.folder import inotify
from agent.ingress.folder.files import BAD, DONE, PictureFile, Place, Version, is_picture, pictures, subfolders
from agent.ingress.folder.inotify import Inotify, Wake
from agent.records import checked_name
from agent.reporting.timing import Timings

log = logging.getLogger(__name__)

SETTLE_S = 5.0  # from one scan to the next while something has just been found; NFS caches attributes for 3 s
GAP_S = 1.0  # between two scans, whatever happens
MAX_FOUND = 10_000  # pictures that one scan takes note of
_PUT = inotify.CLOSE_WRITE | inotify.MOVED_TO
_GONE = inotify.DELETE_SELF | inotify.MOVE_SELF | inotify.UNMOUNT | inotify.IGNORED


class Classify(Protocol):
    def __call__(self, payload: bytes, *, camera: str, received_ms: int) -> object: ...


class WatchedFolder:
    """Owns the thread `folder`. `classify` raises ImageError for what is no good picture, and may wait for room.

    A folder that is not there, or goes away, is waited for.
    """

    def __init__(
        self,
        config: FolderConfig,
        classify: Classify,
        timings: Timings,
        *,
        max_bytes: int,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._root = str(config.path)
        self._config = config
        self._classify = classify
        self._timings = timings
        self._max_bytes = max_bytes
        self._settle_s = settle_s
        self._wake = Wake()
        self._stopping = False
        self._watches: dict[int, str] = {}  # of inotify → subfolder
        self._found: dict[Place, Version] = {}  # by the last scan, and perhaps still being written
        self._dealt_with: dict[Place, Version] = {}  # and lies there still
        self._said: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="folder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """The picture that is under way is finished, if that takes no longer than `timeout` seconds."""
        self._stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        notify = self._inotify()
        scanned, due = -math.inf, -math.inf
        while not self._stopping:
            try:
                if time.monotonic() >= due:
                    scanned = time.monotonic()
                    due = scanned + self._scan(notify)
                self._wake.wait(due - time.monotonic(), notify)
                if notify is not None and self._follow(notify):
                    due = min(due, scanned + GAP_S)
            except Exception:  # the thread must live on, and the scan finds what was passed over
                log.exception("a look into %s failed", self._root)
                due = time.monotonic() + self._settle_s
        if notify is not None:
            notify.close()

    def _inotify(self) -> Inotify | None:
        try:
            return Inotify()
        except OSError as error:
            self._say(f"there is no inotify: {error.strerror}; pictures are found by scans alone")
            return None

    def _scan(self, notify: Inotify | None) -> float:
        """Watch what is there and take what has settled; the seconds until the next scan."""
        lost = f"{self._root} cannot be read"
        try:
            folders = self._folders()
        except OSError as error:
            self._say(f"{lost}: {error.strerror}; waiting for it", lost)
            self._watch(notify, [])
            return self._settle_s
        if lost in self._said:
            self._said.remove(lost)
            log.info("%s can be read again", self._root)
        self._watch(notify, folders)
        before, self._found = self._found, self._look(folders)
        for place in [place for place, version in self._found.items() if before.get(place) == version]:
            if self._stopping:
                break
            del self._found[place]
            self._take(place)
        return min(self._settle_s, self._config.scan_s) if self._found else self._config.scan_s

    def _folders(self) -> list[str]:
        """The watched folder itself and the cameras in it. Raises OSError."""
        folders = [""]
        for name in subfolders(self._root):
            try:
                self._camera(name)
                folders.append(name)
            except LabelError as error:
                self._say(f"the subfolder {name!r} is passed over, since its name becomes that of a camera: {error}")
        return folders

    def _camera(self, folder: str) -> str:
        """Raises LabelError."""
        name = os.fsencode(folder).decode("utf-8", "replace")
        return checked_name(name, "camera name") if folder else self._config.camera or ""

    def _watch(self, notify: Inotify | None, folders: list[str]) -> None:
        """Make it so that just these are watched, wherever their names lead now."""
        if notify is None:
            return
        watches = {}
        for folder in folders:
            try:
                mask = _PUT | inotify.DELETE_SELF | inotify.MOVE_SELF | (0 if folder else inotify.CREATE)
                watches[notify.add(f"{self._root}/{folder}", mask)] = folder
            except OSError as error:
                self._say(f"inotify does not watch all of {self._root}: {error.strerror}; scans find the rest")
        for watch in self._watches.keys() - watches.keys():
            with suppress(OSError):
                notify.remove(watch)
        self._watches = watches

    def _look(self, folders: list[str]) -> dict[Place, Version]:
        """What lies there to be taken, the oldest first. Forgets of what was dealt with all that is gone."""
        here: dict[Place, Version] = {}

        def waiting() -> Iterator[tuple[Place, Version]]:
            for folder in folders:
                try:
                    for place, version in pictures(self._root, folder):
                        if self._dealt_with.get(place) == version:
                            here[place] = version
                        else:
                            yield place, version
                except OSError as error:
                    self._say(f"a folder below {self._root} cannot be read: {error.strerror}")

        found = heapq.nsmallest(MAX_FOUND, waiting(), key=lambda item: item[1].mtime_ns)
        self._dealt_with = here
        return dict(found)

    def _follow(self, notify: Inotify) -> bool:
        """Take what has been put there; whether it is time for a scan."""
        changed = False
        for event in notify.events():
            if self._stopping:
                break
            if event.mask & (_GONE | inotify.Q_OVERFLOW | inotify.ISDIR):
                changed = True
            elif event.mask & _PUT and event.wd in self._watches and is_picture(event.name):
                self._take(Place(self._watches[event.wd], event.name))
        return changed

    def _take(self, place: Place) -> None:
        try:
            with PictureFile(self._root, place) as file:
                version = file.version()
                if self._dealt_with.get(place) == version:
                    return
                with self._timings.phase("file_access"):
                    payload = file.read(self._max_bytes)
                if file.version() != version:
                    return  # it is being written: it will be closed, or a scan finds it unchanged
                self._dealt_with[place] = version  # whatever comes of it: it is not tried again
                good = self._seen(place, version, payload)
                if file.version() == version and self._put_away(file, good):
                    del self._dealt_with[place]
        except FileNotFoundError:
            log.debug("%s is gone", place)
        except OSError as error:
            self._say(f"a picture in {self._root} cannot be read: {error.strerror}")

    def _seen(self, place: Place, version: Version, payload: bytes) -> bool:
        """Whether it was a good picture."""
        try:
            self._classify(payload, camera=self._camera(place.folder), received_ms=version.received_ms)
            return True
        except ImageError as error:
            log.debug("%s: %s", place, error)
            return False

    def _put_away(self, file: PictureFile, good: bool) -> bool:
        """Whether it is no longer where it lay."""
        after = self._config.after
        try:
            if after == "keep":
                return False
            if after == "move":
                file.move(DONE if good else BAD)
            elif good:
                file.delete()
            else:
                file.put_with_bad()
            return True
        except FileNotFoundError:
            return True
        except OSError as error:
            self._say(f"a picture in {self._root} cannot be put away: {error.strerror}; such ones stay where they are")
            return False

    def _say(self, trouble: str, name: str | None = None) -> None:
        """Once, not for every file and at every look."""
        if (name or trouble) not in self._said:
            self._said.add(name or trouble)
            log.warning("%s", trouble)
