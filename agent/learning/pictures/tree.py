"""Class folders: which of the folders above a picture is its class, and which its split."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from agent.errors import DatasetError
from agent.learning.pictures.labelled import SPLIT_NAMES, SUFFIXES, LabelledPicture, label_of, reading

_TEACHABLE_MACHINE = "-!-"


def files_of_folder(folder: Path) -> Iterator[tuple[PurePosixPath, Callable[[], bytes]]]:
    """All that is there and no folder: what is called as a picture and is none is to be counted."""
    for path in sorted(folder.rglob("*")):
        if path.exists() and not path.is_dir():
            yield PurePosixPath(path.relative_to(folder).as_posix()), reading(path)


def pictures_of(source: Path, files: Iterable[tuple[PurePosixPath, Callable[[], bytes]]]) -> Iterator[LabelledPicture]:
    """The labelled pictures among the files of a source. Raises DatasetError where none lies in a class folder."""
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
        split = SPLIT_NAMES[path.parts[0]] if in_splits else None
        yield LabelledPicture(f"{source}/{path}", label_of(folder, f"{source}/{path}"), split, read)


def _above_classes(paths: list[tuple[str, ...]]) -> tuple[int, bool]:
    """How many folders hold all the others, as in an archive of a folder, and are no class; whether splits follow."""
    above = 0
    while True:
        tops = {parts[above] for parts in paths if len(parts) > above + 1}
        in_splits = "train" in tops and tops <= SPLIT_NAMES.keys()
        if in_splits or len(tops) != 1 or any(len(parts) <= above + 2 for parts in paths):
            return above, in_splits
        above += 1
