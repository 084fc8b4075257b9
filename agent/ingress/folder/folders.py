"""The watched folder and all those in it in which pictures may lie: found, and watched by inotify."""

import errno
import os
from collections.abc import Callable, Generator
from contextlib import suppress

from agent.errors import LabelError
from agent.ingress.folder import inotify
from agent.ingress.folder.files import MAX_DEPTH, subfolders
from agent.ingress.folder.inotify import Inotify
from agent.records import checked_name

MAX_FOLDERS = 10_000  # that are looked through
_EVENTS = (
    inotify.CLOSE_WRITE
    | inotify.MOVED_TO
    | inotify.CREATE  # of folders
    | inotify.DELETE_SELF
    | inotify.MOVE_SELF
)


def camera_name(folder: str) -> str:
    """Of the camera that has a folder of this name. Raises LabelError."""
    return checked_name(os.fsencode(folder).decode("utf-8", "replace"), "camera name")


class Folders:
    """Of one thread. `say` is told, in one sentence, of what is passed over."""

    def __init__(self, root: str, say: Callable[[str], None]) -> None:
        self.watches: dict[int, str] = {}  # of inotify → the folder's path below root
        self._root = root
        self._say = say

    def each(self, notify: Inotify | None) -> Generator[str, None, None]:
        """The paths below root of all folders, "" first; once it is closed just these are watched.

        Each is watched when it is given, and what lies in it is listed after that: so nothing that comes meanwhile is
        missed. Raises OSError where root cannot be read.
        """
        waiting, given = [""], 0
        watches: dict[int, str] = {}
        try:
            while waiting:
                folder = waiting.pop()
                given += 1
                if notify is not None:
                    self._watch(notify, folder, watches)
                yield folder
                room = MAX_FOLDERS - given - len(waiting)
                waiting += reversed(self._below(folder, room))
        finally:
            for watch in self.watches.keys() - watches.keys():
                with suppress(OSError):
                    if notify is not None:
                        notify.remove(watch)
            self.watches = watches

    def pass_over(self, folder: str, error: OSError) -> None:
        """One that we may not read, or that is gone since it was found. Raises the error of root itself."""
        if not folder:
            raise error
        if not isinstance(error, FileNotFoundError):
            self._say(f"a folder below {self._root} cannot be read: {error.strerror}")

    def _below(self, folder: str, room: int) -> list[str]:
        """At most `room` of the folders in one."""
        try:
            below = [path for path in subfolders(self._root, folder) if folder or self._is_camera(path)]
        except OSError as error:
            self.pass_over(folder, error)
            return []
        if below and folder.count("/") + 1 >= MAX_DEPTH:
            self._say(f"folders more than {MAX_DEPTH} levels below {self._root} are passed over")
            return []
        if len(below) > room:
            self._say(f"more than {MAX_FOLDERS} folders lie below {self._root}: the rest is passed over")
        return below[:room]

    def _is_camera(self, folder: str) -> bool:
        try:
            camera_name(folder)
            return True
        except LabelError as error:
            self._say(f"the subfolder {folder!r} is passed over, since its name becomes that of a camera: {error}")
            return False

    def _watch(self, notify: Inotify, folder: str, watches: dict[int, str]) -> None:
        """Wherever its name leads now."""
        try:
            watches[notify.add(f"{self._root}/{folder}", _EVENTS | (inotify.DONT_FOLLOW if folder else 0))] = folder
        except FileNotFoundError:
            pass
        except OSError as error:
            why = str(error.strerror)
            if error.errno == errno.ENOSPC:
                why = "its limit of folders is reached (sysctl fs.inotify.max_user_watches)"
            self._say(f"inotify does not watch all of {self._root}: {why}; scans find the rest")
