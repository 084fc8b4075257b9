"""Labelled pictures in tar shards, as the WebDataset library writes them.

Members whose names agree as far as the first dot behind the last slash are one sample:

    0001.jpg  0001.cls                  the label is the text of .cls: a name, or the number of a class
    0002.png  0002.json                 or, where there is no .cls, what the JSON holds under "label" or "cls"
    glass/0003.jpg                      or, where there is neither, the folder

A file classes.txt beside the shards names numbered classes, one a line.

A member says itself how long it is: longer than a picture may be, or of less than nothing, is no reason to read more.
"""

import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from agent.board.files import Rationed, open_regular, printable, read_bounded
from agent.errors import DatasetError
from agent.learning.pictures.archive import path_inside
from agent.learning.pictures.labelled import is_of_system
from agent.records import MAX_PICTURE_BYTES

CLASSES = "classes.txt"
MAX_TEXT_BYTES = 1 << 20  # of a .cls or .json, of classes.txt, and of what stands before a member
MAX_CLASS_DIGITS = 9


@dataclass(frozen=True, slots=True)
class TarMember:
    """Reads one member of an uncompressed archive, by its place: any process can that sees the file."""

    archive: str
    offset: int  # bytes
    size: int

    def __call__(self) -> bytes:
        """Raises OSError."""
        if self.size > MAX_PICTURE_BYTES:
            raise OSError(f"it has {self.size} bytes, the limit is {MAX_PICTURE_BYTES}")
        with open_regular(self.archive) as file:
            content = os.pread(file.fileno(), self.size, self.offset)
        if len(content) != self.size:
            raise OSError(f"{self.archive} ends in the middle of it")
        return content


@dataclass(frozen=True, slots=True)
class Sample:
    name: str  # of the picture inside its shard
    label: str
    read: TarMember


def is_shard(path: Path) -> bool:
    return path.suffix.lower() == ".tar" and path.is_file()


def words(shard: Path) -> list[str]:
    """What a shard's name, or its folder's, is made of: `imagenet-train-0007.tar` says where its pictures belong."""
    return [*re.split(r"[-_.]", shard.stem.lower()), shard.parent.name.lower()]


def class_names(folder: Path) -> tuple[str, ...]:
    """The names of numbered classes; none where nobody wrote them down. Raises DatasetError."""
    path = folder / CLASSES
    try:
        return tuple(read_bounded(path, MAX_TEXT_BYTES).decode("utf-8-sig").splitlines())
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error


def samples(
    shard: Path, suffixes: frozenset[str], others: frozenset[str], classes: tuple[str, ...]
) -> Iterator[Sample]:
    """The pictures of a shard in the order of its members: those that end in `suffixes`, or a sample's in `others`
    where it has none of them. Raises DatasetError where it is no whole, plain tar."""
    try:
        with (
            Rationed(open_regular(shard), MAX_TEXT_BYTES) as file,
            tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as archive,  # else what the locale says
        ):
            for members in _grouped(str(shard), archive, file):
                yield from _of_sample(shard, members, (suffixes, others), classes)
    except DatasetError:
        raise
    except OSError as error:
        raise DatasetError(f"{shard} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # tarfile raises all sorts at what somebody damaged or forged
        raise DatasetError(
            f"{shard} cannot be read as a tar archive: {error}; unpack what is compressed, and copy again what is torn"
        ) from error


def _grouped(shard: str, archive: tarfile.TarFile, file: Rationed) -> Iterator[dict[str, TarMember]]:
    """The members of one sample after the other, by name. Raises TarError where they do not follow each other."""
    key, members, end = "", dict[str, TarMember](), 0
    for member in archive:
        archive.members = []  # type: ignore[attr-defined]  # it would keep all of them
        file.ration = MAX_TEXT_BYTES  # for what stands before the next one
        if member.size < 0 or member.offset_data <= end:
            raise tarfile.TarError(f"its member {printable(member.name):.80} has a size of less than nothing")
        end = member.offset_data
        if not member.isreg():
            continue
        path = path_inside(member.name)
        if any(map(is_of_system, path.parts)):
            continue
        of_member = str(path.parent / path.name.split(".", 1)[0])
        if of_member != key and members:
            yield members
            members = {}
        key = of_member
        members[str(path)] = TarMember(shard, member.offset_data, member.size)
    if members:
        yield members


def _of_sample(
    shard: Path, members: dict[str, TarMember], kinds: Sequence[frozenset[str]], classes: tuple[str, ...]
) -> Iterator[Sample]:
    of_kinds = ([name for name in members if PurePosixPath(name).suffix.lower() in kind] for kind in kinds)
    pictures = next(filter(None, of_kinds), None)
    if pictures is None:
        return
    label = _label(shard, members, classes)
    for name in pictures:
        folder = PurePosixPath(name).parent.name
        if label is None and not folder:
            raise DatasetError(
                f"{shard}: {printable(name)} has no label: neither a .cls or .json beside it, nor a folder"
            )
        yield Sample(name, folder if label is None else label, members[name])


def _label(shard: Path, members: dict[str, TarMember], classes: tuple[str, ...]) -> str | None:
    for name, member in members.items():
        suffix = PurePosixPath(name).suffix.lower()
        if suffix not in (".cls", ".json") or member.size > MAX_TEXT_BYTES:
            continue
        try:
            text = member().decode("utf-8").strip()
            found = text if suffix == ".cls" else _in_json(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{shard}: {printable(name)} cannot be read: {error}") from error
        if found is not None:
            is_number = found.isdecimal() and len(found) <= MAX_CLASS_DIGITS
            return classes[int(found)] if is_number and int(found) < len(classes) else found
    return None


def _in_json(content: object) -> str | None:
    if not isinstance(content, dict):
        return None
    found = next((content[key] for key in ("label", "cls") if key in content), None)
    return str(found) if isinstance(found, str | int) else None
