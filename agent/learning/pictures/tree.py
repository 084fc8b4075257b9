"""Class folders, on disk or in an archive: what is there, and what of it is a labelled picture."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from agent.board.files import printable
from agent.errors import DatasetError, LabelError
from agent.learning.pictures.folders import Arrangement, arrangement
from agent.learning.pictures.labelled import (
    LabelledPicture,
    is_in_other_format,
    is_of_system,
    is_picture,
    reading,
)
from agent.learning.pictures.leftout import LeftOut, lines
from agent.records import checked_label

# What lies there, below the source: what reads a file, which raises OSError; or why there is nothing to be read in it,
# as in a folder or a link.
Found = tuple[PurePosixPath, Callable[[], bytes] | str]

EMPTY = "the folder is empty"
_AROUND = "the link leads to a folder around it"
_READ_ALREADY = "the link leads to a folder that was read already"
_NO_ENDING = "its name has no ending: call it .jpg or .png"
_NO_PICTURE = "no picture lies in its folder"


def not_read(path: PurePosixPath) -> str:
    """Why a picture in another format is left out."""
    return f"{path.suffix.lower()} is not read: make it a JPEG or PNG"


def files_of_folder(folder: Path) -> Iterator[Found]:
    """All that is there, but for what systems leave. What is called as a picture and is none is to be counted.

    Links are followed, wherever they lead. Below one folder of `folder` none is entered twice, so they lead to no
    circle; folders come before links to them. Raises OSError where the folder itself cannot be listed.
    """
    whole = folder.resolve()
    around = {_identity(place) for place in (whole, *whole.parents)}
    for entry in _entries(folder):
        yield from _below(entry, around)


def _entries(folder: "os.PathLike[str]") -> list["os.DirEntry[str]"]:
    with os.scandir(folder) as inside:
        return [entry for entry in inside if not is_of_system(entry.name)]


def _below(top: "os.DirEntry[str]", around: set[tuple[int, int]]) -> Iterator[Found]:
    """What is there by the name of an entry, and in it; never in the folders `around` it."""
    entered = set[tuple[int, int]]()
    waiting, links = [(top, PurePosixPath(top.name))], deque[tuple["os.DirEntry[str]", PurePosixPath]]()
    while waiting or links:
        following = not waiting
        entry, path = links.popleft() if following else waiting.pop()
        try:
            if not entry.is_dir():
                if entry.is_symlink():
                    entry.stat()  # whether it is there
                yield path, reading(Path(entry.path))
            elif entry.is_symlink() and not following:
                links.append((entry, path))
            elif (place := _identity(entry)) in entered or place in around:
                yield path, _AROUND if place in around else _READ_ALREADY
            else:
                entered.add(place)
                inside = [(each, path / each.name) for each in _entries(entry)]
                waiting += inside
                if not inside:
                    yield path, EMPTY
        except OSError as error:
            is_dead = entry.is_symlink() and isinstance(error, FileNotFoundError)
            yield path, "the link leads nowhere" if is_dead else f"it cannot be opened: {error.strerror}"


def _identity(place: "Path | os.DirEntry[str]") -> tuple[int, int]:
    status = Path(place).stat()
    return status.st_dev, status.st_ino


def pictures_of(source: Path, found: Iterable[Found]) -> tuple[list[LabelledPicture], list[LeftOut]]:
    """The labelled pictures among what lies in a source, and what is left out.

    Raises DatasetError where no picture lies in a class folder, or nobody can tell classes from splits.
    """
    there = sorted(
        ((path, read) for path, read in found if path.parts and not any(map(is_of_system, path.parts))),
        key=lambda one: one[0].parts,
    )
    pictures = [path.parts for path, read in there if _is_called_picture(path) and not isinstance(read, str)]
    sorting = _Sorting(source, arrangement(str(source), pictures))
    for number, (path, read) in enumerate(there):
        following = there[number + 1][0].parts if number + 1 < len(there) else ()
        if not isinstance(read, str):
            sorting.take_file(path, read)
        elif following[: len(path.parts)] != path.parts:  # an archive names folders that are not empty, too
            sorting.take_nothing(path, read)
    left_out = sorting.left_out + sorting.without_pictures()
    if not sorting.pictures:
        expected = f"expected {source}/CLASS/PICTURE.jpg (or .png, .bmp, .webp)"
        raise DatasetError("; ".join([f"{source} holds no pictures in class folders", expected, *lines(left_out)]))
    return sorting.pictures, left_out


def _is_called_picture(path: PurePosixPath) -> bool:
    return is_picture(path) or is_in_other_format(path)


class _Sorting:
    """Parts what is taken from what is left out."""

    def __init__(self, source: Path, arranged: Arrangement) -> None:
        self.pictures: list[LabelledPicture] = []
        self.left_out: list[LeftOut] = []
        self._source = source
        self._arranged = arranged
        self._labels: dict[str, str] = {}  # what folders and names say → the label as it is kept
        self._refused: dict[str, str] = {}  # what they say and is no label → why
        self._first: dict[str, str] = {}  # label → what said it first

    def take_file(self, path: PurePosixPath, read: Callable[[], bytes]) -> None:
        name, place = f"{self._source}/{path}", self._arranged.place(path.parts)
        if place.label is None:
            if _is_called_picture(path):
                self.left_out.append(LeftOut(name, place.why))
        elif is_picture(path):
            label = self._label(place.label, name)
            if place.label in self._refused:
                self.left_out.append(LeftOut(name, self._refused[place.label], label))
            else:
                self.pictures.append(LabelledPicture(name, label, place.split, read))
        elif is_in_other_format(path):
            self.left_out.append(LeftOut(name, not_read(path), self._label(place.label, name)))
        elif place.label in path.parts[:-1]:  # a folder says it, and not the name of a file that is no picture
            label = self._label(place.label, name)
            if not path.suffix:
                self.left_out.append(LeftOut(name, _NO_ENDING, label))

    def take_nothing(self, path: PurePosixPath, why: str) -> None:
        """A folder in which nothing is, or a link that does not lead to anything."""
        name = f"{self._source}/{path}"
        said = self._arranged.place(path.parts, is_folder=not _is_called_picture(path)).label
        label = self._label(said, name) if said is not None and why != _AROUND else None
        self.left_out.append(LeftOut(name, why, label))

    def without_pictures(self) -> list[LeftOut]:
        """The class folders in which other files lie alone: texts about the pictures, perhaps."""
        told = {picture.label for picture in self.pictures} | {one.label for one in self.left_out}
        return [LeftOut(name, _NO_PICTURE) for label, name in self._first.items() if label not in told]

    def _label(self, said: str, name: str) -> str:
        """As it is kept, or, of what is no label, as it can be said."""
        if said not in self._labels:
            try:
                self._labels[said] = checked_label(said)
            except LabelError as error:
                self._labels[said], self._refused[said] = printable(said), str(error)
            self._first.setdefault(self._labels[said], name)
        return self._labels[said]
