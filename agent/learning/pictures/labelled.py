"""A labelled picture, and what the names of files and folders say of one."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath

from agent.board.files import printable, read_bounded
from agent.errors import DatasetError, LabelError
from agent.learning.pictures.spelling import check_spellings
from agent.records import MAX_PICTURE_BYTES, Split, checked_label

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".png", ".apng", ".bmp", ".webp"})

# What people take for pictures, too, and nothing here reads: it is counted. Raw files of cameras and films among them.
_OTHERS = """
heic heif heics heifs hif avif avifs gif tif tiff jp2 j2k jpf jpx jxl jxr wdp ico tga dib svg psd xcf eps ai pcx ppm pgm
pbm pnm pam exr hdr dds sgi ras qoi mpo jps flif bpg dcm raw dng cr2 cr3 crw nef nrw arw srf sr2 orf rw2 raf pef srw x3f
3fr iiq rwl kdc dcr erf mp4 m4v mov avi mkv webm mpg mpeg 3gp wmv mts mjpeg mjpg
"""
OTHER_FORMATS = frozenset(f".{name}" for name in _OTHERS.split())

_WORDS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "validate": "val",
    "dev": "val",
    "development": "val",
    "eval": "val",
    "evaluation": "val",
    "test": "test",
    "testing": "test",
}
# What a split is called, in small letters: also train_set, "training set", validation-data…
SPLIT_NAMES: dict[str, Split] = {
    f"{word}{between}{what}": split
    for word, split in _WORDS.items()
    for what in ("", "set", "data", "dataset", "images", "split")
    for between in (("", "_", "-", " ") if what else ("",))
}

# What systems leave among one's files, in small letters; beside them whatever begins with a dot.
_SYSTEM = frozenset(
    {
        "@eadir",  # Synology: thumbnails
        "@tmp",
        "#recycle",
        "#snapshot",
        "@recycle",  # QNAP
        "@recently-snapshot",
        "@__thumb",
        "$recycle.bin",  # Windows
        "recycler",
        "system volume information",
        "found.000",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "__macosx",
        "icon\r",
        "network trash folder",
        "temporary items",
        "lost+found",
        "lost.dir",  # Android
        "__pycache__",
    }
)


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    name: str  # where it is, for messages: letters that cannot be seen are escaped
    label: str
    split: Split | None  # None where nobody said: its hash decides
    read: Callable[[], bytes]  # raises OSError; can be pickled, but for those of a .zip

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", printable(self.name))


def split_named(name: str) -> Split | None:
    """The split that goes by this name, in letters of any case, or by it and a number; None where none does."""
    return SPLIT_NAMES.get(re.sub(r"[-_ ]*[0-9]+$", "", name.strip().casefold()))


def is_of_system(name: str) -> bool:
    """Whether a file or folder of this name is nobody's picture and nobody's class."""
    return name.startswith(".") or name.casefold() in _SYSTEM


def is_picture(path: PurePath) -> bool:
    """Whether a file is called as the pictures that are read here."""
    return path.suffix.lower() in SUFFIXES


def is_in_other_format(path: PurePath) -> bool:
    """Whether a file is called as a picture is that nothing here reads."""
    return path.suffix.lower() in OTHER_FORMATS


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
