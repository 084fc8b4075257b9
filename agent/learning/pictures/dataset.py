"""Labelled pictures as people keep them: class folders, archives, lists.

folder/class/picture.jpg          folder/train/class/picture.jpg (and val, test)
the same inside a .zip, or a Teachable Machine project, whose files are named class-!-0.jpg
list.csv with the columns file, class and, if you like, split; files are relative to the list
shard.tar, or a folder of such shards (see shards.py)

Nobody has to be believed: what is no regular file is not opened, and however large something says it is, or says it
is not, no more than its limit is read.
"""

import csv
import io
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from agent.board.files import Rationed, open_regular, read_bounded
from agent.errors import DatasetError, LabelError
from agent.learning.pictures import shards
from agent.records import MAX_PICTURE_BYTES, Split, checked_label

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
MAX_LIST_BYTES = 256 << 20  # of a .csv: some million lines
MAX_DIRECTORY_BYTES = 128 << 20  # of a .zip, its names: a million of them

_SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
_TEACHABLE_MACHINE = "-!-"


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    name: str  # where it is, for messages
    label: str
    split: Split | None  # None where nobody said: its hash decides
    read: Callable[[], bytes]  # raises OSError; can be pickled, but for those of a .zip


@contextmanager
def open_dataset(source: Path) -> Iterator[list[LabelledPicture]]:
    """The pictures of a folder, a .zip archive, a .csv list or tar shards; readable inside the `with`.

    Those of `val` and `test` come first, so that a picture that is also listed under
    `train` is not trained on. Raises DatasetError where the source cannot be understood.
    """
    if found := _shards(source):
        yield _ordered(_from_shards(found))
    elif source.is_dir():
        yield _ordered(_from_tree(source, _files_of_folder(source)))
    elif source.suffix.lower() == ".csv":
        yield _ordered(_from_list(source))
    elif is_archive(source):
        with _archive(source) as archive:
            yield _ordered(_from_tree(source, _files_of_archive(archive)))
    elif source.exists():
        raise DatasetError(f"{source} is no folder, no .zip, no .tar and no .csv list of pictures")
    else:
        raise DatasetError(f"{source}: there is no such file or folder")


def is_archive(source: Path) -> bool:
    """Whether it is a .zip, whose pictures can be read in this process alone."""
    try:
        return source.is_file() and zipfile.is_zipfile(source)
    except zipfile.BadZipFile:  # it is one, and forged
        return True


def empty_folders(source: Path) -> list[Path]:
    """The folders inside a folder that hold no picture, and no other folder that may hold one."""
    if not source.is_dir() or _shards(source):
        return []
    folders = [path for path in sorted(source.rglob("*")) if path.is_dir() and not path.name.startswith(".")]
    return [folder for folder in folders if not any(_may_count(path) for path in folder.iterdir())]


def _may_count(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() in SUFFIXES


def _ordered(pictures: Iterable[LabelledPicture]) -> list[LabelledPicture]:
    return sorted(pictures, key=lambda picture: picture.split not in ("val", "test"))


def _files_of_folder(folder: Path) -> Iterator[tuple[PurePosixPath, Callable[[], bytes]]]:
    """All that is there and no folder: what is called as a picture and is none is to be counted."""
    for path in sorted(folder.rglob("*")):
        if path.exists() and not path.is_dir():
            yield PurePosixPath(path.relative_to(folder).as_posix()), _reading(path)


def _reading(path: Path) -> Callable[[], bytes]:
    return partial(read_bounded, path, MAX_PICTURE_BYTES)


# What the standard library makes of an archive that somebody damaged or forged.
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OverflowError, RuntimeError, ValueError)


@contextmanager
def _archive(source: Path) -> Iterator[zipfile.ZipFile]:
    """Raises DatasetError."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Rationed(open_regular(source), MAX_DIRECTORY_BYTES))
            archive = stack.enter_context(zipfile.ZipFile(file))
        except (OSError, *_DAMAGED) as error:
            raise DatasetError(f"{source} cannot be read as a .zip: {error}") from error
        file.ration = sys.maxsize  # from now on it is read as we ask for it
        yield archive


def _files_of_archive(archive: zipfile.ZipFile) -> Iterator[tuple[PurePosixPath, Callable[[], bytes]]]:
    for entry in archive.infolist():
        if not entry.filename.endswith("/"):
            yield PurePosixPath(entry.filename), partial(_unpacked, archive, entry)


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Raises OSError."""
    if entry.file_size > MAX_PICTURE_BYTES:  # a few bytes can unpack to gigabytes
        raise OSError(f"it unpacks to {entry.file_size} bytes, the limit is {MAX_PICTURE_BYTES}")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # the others cannot be unpacked in part
        raise OSError("it is neither stored nor deflated: pack the archive anew, by the usual method")
    try:
        with archive.open(entry) as member:
            return member.read(entry.file_size + 1)  # without a number all of it is unpacked, whatever its size says
    except _DAMAGED as error:
        raise OSError(f"it cannot be unpacked: {error}") from error


def _from_tree(source: Path, files: Iterable[tuple[PurePosixPath, Callable[[], bytes]]]) -> Iterator[LabelledPicture]:
    pictures = [
        (path, read)
        for path, read in files
        if path.suffix.lower() in SUFFIXES and not any(part.startswith((".", "__MACOSX")) for part in path.parts)
    ]
    above, in_splits = _above_classes([path.parts for path, _ in pictures])
    pictures = [(PurePosixPath(*path.parts[above:]), read) for path, read in pictures]
    depth = 3 if in_splits else 2
    placed = [(path, read) for path, read in pictures if len(path.parts) >= depth or _TEACHABLE_MACHINE in path.name]
    if not placed:
        raise DatasetError(
            f"{source} holds no pictures in class folders; expected {source}/CLASS/PICTURE.jpg (or .png, .bmp, .webp)"
        )
    for path, read in placed:
        folder = path.parts[depth - 2] if len(path.parts) >= depth else path.name.split(_TEACHABLE_MACHINE)[0]
        split = _SPLIT_NAMES[path.parts[0]] if in_splits else None
        yield LabelledPicture(f"{source}/{path}", _label(folder, f"{source}/{path}"), split, read)


def _above_classes(paths: list[tuple[str, ...]]) -> tuple[int, bool]:
    """How many folders hold all the others, as in an archive of a folder, and are no class; whether splits follow."""
    above = 0
    while True:
        tops = {parts[above] for parts in paths if len(parts) > above + 1}
        in_splits = "train" in tops and tops <= _SPLIT_NAMES.keys()
        if in_splits or len(tops) != 1 or any(len(parts) <= above + 2 for parts in paths):
            return above, in_splits
        above += 1


def _shards(source: Path) -> list[Path]:
    """The tar archives that a source is, or that lie in it; none where it is something else."""
    if source.is_dir():
        places = [source, *(source / name for name in _SPLIT_NAMES)]  # and not everywhere: there may be a million files
        return sorted(path for place in places for path in place.glob("*.tar") if shards.is_shard(path))
    return [source] if shards.is_shard(source) else []


def _from_shards(found: list[Path]) -> Iterator[LabelledPicture]:
    for shard in found:
        classes = shards.class_names(shard.parent)
        split = next((_SPLIT_NAMES[word] for word in shards.words(shard) if word in _SPLIT_NAMES), None)
        for sample in shards.samples(shard, SUFFIXES, classes):
            where = f"{shard}/{sample.name}"
            yield LabelledPicture(where, _label(sample.label, where), split, sample.read)


def _from_list(source: Path) -> Iterator[LabelledPicture]:
    try:
        content = io.BytesIO(read_bounded(source, MAX_LIST_BYTES))
        rows = csv.DictReader(io.TextIOWrapper(content, "utf-8-sig", newline=""))
        if rows.fieldnames is None or not {"file", "class"} <= set(rows.fieldnames):
            raise DatasetError(
                f"{source}, line 1: expected the columns file,class[,split], found {rows.fieldnames!s:.200}"
            )
        for row in rows:
            yield _listed(source, rows.line_num, row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{source} cannot be read as a list: {error}") from error


def _listed(source: Path, line: int, row: dict[str, str | None]) -> LabelledPicture:
    where = f"{source}, line {line}"
    name = row["file"]
    if not name:
        raise DatasetError(f"{where}: the column file is empty")
    split = (row.get("split") or "").strip().lower()
    if split and split not in _SPLIT_NAMES:
        raise DatasetError(f"{where}: the split is {split!r:.40}; expected train, val or test")
    path = source.parent / name
    return LabelledPicture(
        str(path), _label(row["class"], where), _SPLIT_NAMES[split] if split else None, _reading(path)
    )


def _label(text: str | None, where: str) -> str:
    try:
        return checked_label(text)
    except LabelError as error:
        raise DatasetError(f"{where}: {error}") from error
