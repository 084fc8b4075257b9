"""A labelled picture, and what the names of files and folders say of one."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agent.board.files import read_bounded
from agent.errors import DatasetError, LabelError
from agent.learning.pictures.spelling import check_spellings
from agent.records import MAX_PICTURE_BYTES, Split, checked_label

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})

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


def label_of(text: str | None, where: str) -> str:
    """A label as it is kept. Raises DatasetError that says where it stands."""
    try:
        return checked_label(text)
    except LabelError as error:
        raise DatasetError(f"{where}: {error}") from error


def check_labels(pictures: Iterable[LabelledPicture], known: Iterable[str]) -> None:
    """Raises SimilarLabelError where a label of theirs is new and like a known one, or like one with more pictures."""
    counts = Counter(picture.label for picture in pictures)
    check_spellings((label for label, _ in counts.most_common()), known, "say --new-labels")


def reading(path: Path) -> Callable[[], bytes]:
    """What reads a picture's file, up to the limit of a picture; raises OSError."""
    return partial(read_bounded, path, MAX_PICTURE_BYTES)
