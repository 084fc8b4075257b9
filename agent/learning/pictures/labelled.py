"""A labelled picture, and what the names of files and folders say of one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agent.board.files import read_bounded
from agent.errors import DatasetError, LabelError
from agent.records import MAX_PICTURE_BYTES, Split, checked_label

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp"})

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    name: str  # where it is, for messages
    label: str
    split: Split | None  # None where nobody said: its hash decides
    read: Callable[[], bytes]  # raises OSError; can be pickled, but for those of a .zip


def is_system(name: str) -> bool:
    """Whether a folder of this name is an operating system's own, whatever lies in it."""
    return name.startswith(".") or name.lower() in ("@eadir", "$recycle.bin", "__macosx", "lost+found")


def label_of(text: str | None, where: str) -> str:
    """A label as it is kept. Raises DatasetError that says where it stands."""
    try:
        return checked_label(text)
    except LabelError as error:
        raise DatasetError(f"{where}: {error}") from error


def reading(path: Path) -> Callable[[], bytes]:
    """What reads a picture's file, up to the limit of a picture; raises OSError."""
    return partial(read_bounded, path, MAX_PICTURE_BYTES)
