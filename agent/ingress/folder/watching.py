"""The watched folder: pictures that are put into it are classified, and then deleted, moved or kept.

The truth is what a scan finds; inotify only tells sooner. A file is taken when it was
closed after writing, or moved here, and else when two scans in a row find it
unchanged: after an overflow of inotify's queue, on a network file system, at the
start. What is torn then may be an upload that goes on: it is bad only if it has not
changed for a while. The files are the queue: the kernel's is bounded, and there is no
other.
"""

import heapq
import logging
import math
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from typing import Protocol

from agent.config import FolderConfig
from agent.errors import ImageError, UnknownTaskError
from agent.ingress.folder import inotify
from agent.ingress.folder.files import (
    BAD,
    DONE,
    PictureFile,
    Place,
    Version,
    folder_version,
    is_picture,
    pictures,
    remove_empty,
)
from agent.ingress.folder.folders import MAX_FOLDERS, Folders, camera_name
from agent.ingress.folder.inotify import Inotify, Wake
from agent.ingress.folder.settling import Settling
from agent.reporting.timing import Timings

log = logging.getLogger(__name__)

RESCAN_S = 5.0  # from one scan to the next while something has just been found; NFS caches attributes for 3 s
GAP_S = 1.0  # between two scans, whatever happens
MAX_FOUND = 10_000  # pictures that one scan takes note of, and that wait for being looked at again
_PUT = inotify.CLOSE_WRITE | inotify.MOVED_TO
_GONE = inotify.DELETE_SELF | inotify.MOVE_SELF | inotify.UNMOUNT | inotify.IGNORED


class Classify(Protocol):
    def __call__(self, payload: bytes, *, camera: str, received_ms: int, tentative: bool) -> object: ...


class WatchedFolder:
    """Owns the thread `folder`. `classify` raises ImageError for what is no good picture, and may wait for room;
    what is `tentative` comes again if it is none.

    A folder that is not there, or goes away, is waited for.
    """

    def __init__(
        self,
        config: FolderConfig,
        classify: Classify,
        timings: Timings,
        *,
        max_bytes: int,
        rescan_s: float = RESCAN_S,
    ) -> None:
        self._root = str(config.path)
        self._config = config
        self._classify = classify
        self._timings = timings
        self._max_bytes = max_bytes
        self._rescan_s = rescan_s
        self._wake = Wake()
        self._stopping = False
        self._folders = Folders(self._root, self._say)
        self._found: dict[Place, Version] = {}  # by the last scan, and perhaps still being written
        self._dealt_with: dict[Place, Version] = {}  # and lies there still
        self._torn: Settling[Place] = Settling(config.settle_s, MAX_FOUND)
        self._left: Settling[str] = Settling(config.settle_s, MAX_FOLDERS)  # folders from which a picture was taken
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
                self._wake.wait(min(due, self._torn.due, self._left.due) - time.monotonic(), notify)
                if notify is not None and self._follow(notify):
                    due = min(due, scanned + GAP_S)
                self._look_again()
                self._tidy()
            except Exception:  # the thread must live on, and the scan finds what was passed over
                log.exception("a look into %s failed", self._root)
                due = time.monotonic() + self._rescan_s
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
        before = self._found
        try:
            self._found = self._look(notify)
        except OSError as error:
            self._say(f"{lost}: {error.strerror}; waiting for it", lost)
            return self._rescan_s
        if lost in self._said:
            self._said.remove(lost)
            log.info("%s can be read again", self._root)
        for place in [place for place, version in self._found.items() if before.get(place) == version]:
            if self._stopping:
                break
            del self._found[place]
            self._take(place)
        return min(self._rescan_s, self._config.scan_s) if self._found or self._torn else self._config.scan_s

    def _look(self, notify: Inotify | None) -> dict[Place, Version]:
        """Watch all folders, and just these; what lies there to be taken, the oldest first.

        Forgets of what was dealt with all that is gone. Raises OSError where the watched folder cannot be read.
        """
        here: dict[Place, Version] = {}

        def waiting(folders: Iterable[str]) -> Iterator[tuple[Place, Version]]:
            for folder in folders:
                try:
                    for place, version in pictures(self._root, folder):
                        if self._dealt_with.get(place) == version:
                            here[place] = version
                        elif not self._torn.waits(place, version):
                            yield place, version
                except OSError as error:
                    self._folders.pass_over(folder, error)

        with closing(self._folders.each(notify)) as folders:
            found = heapq.nsmallest(MAX_FOUND, waiting(folders), key=lambda item: item[1].mtime_ns)
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
            elif event.mask & _PUT and event.wd in self._folders.watches and is_picture(event.name):
                self._take(Place(self._folders.watches[event.wd], event.name))
        return changed

    def _look_again(self) -> None:
        """At what was torn and has had its time."""
        for place, version in self._torn.pop_due():
            if self._stopping:
                break
            self._take(place, settled=version)

    def _tidy(self) -> None:
        """Remove the folders below a camera's that are empty since their last picture was taken."""
        for folder, version in self._left.pop_due():
            with suppress(OSError):  # it is gone
                now = folder_version(self._root, folder)
                if now == version:
                    remove_empty(self._root, folder)
                else:
                    self._left.wait(folder, now)

    def _take(self, place: Place, settled: Version | None = None) -> None:
        """Classify it and put it away. A bad one in another version than `settled` is looked at again later."""
        try:
            with PictureFile(self._root, place) as file:
                version = file.version()
                if self._dealt_with.get(place) == version:
                    return
                with self._timings.phase("file_access"):
                    payload = file.read(self._max_bytes)
                if file.version() != version:
                    self._torn.wait(place, version)  # it is being written, and will be closed
                    return
                self._dealt_with[place] = version  # whatever comes of it: it is not tried again
                good = self._seen(place, version, payload, tentative=version != settled)
                if not good and version != settled:
                    del self._dealt_with[place]
                    self._torn.wait(place, version)
                    return
                self._torn.forget(place)
                if file.version() == version and self._put_away(file, good):
                    del self._dealt_with[place]
                    self._leave(place.folder)
        except FileNotFoundError:
            log.debug("%s is gone", place)
        except OSError as error:
            self._say(f"a picture in {self._root} cannot be read: {error.strerror}")

    def _leave(self, folder: str) -> None:
        """A picture was taken from it: if it was the last, the folder goes too, unless it is a camera's own."""
        if "/" in folder:
            self._left.wait(folder, folder_version(self._root, folder))

    def _seen(self, place: Place, version: Version, payload: bytes, *, tentative: bool) -> bool:
        """Whether it was a good picture."""
        try:
            camera = camera_name(place.camera) if place.folder else self._config.camera or ""
            self._classify(payload, camera=camera, received_ms=version.received_ms, tentative=tentative)
            return True
        except ImageError as error:
            log.debug("%s: %s", place, error)
            return False
        except UnknownTaskError as error:  # no view looks at this camera, and none will however often it is tried
            self._say(f"a picture in {self._root} is not classified: {error}")
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
