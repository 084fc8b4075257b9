"""Labelled pictures as people keep them: class folders, archives, lists.

folder/class/picture.jpg          folder/train/class/picture.jpg (and val, test)
the same inside a .zip, or a Teachable Machine project, whose files are named class-!-0.jpg
list.csv or .tsv with the columns file, class and, if you like, split; files are relative to the list
shard.tar, or a folder of such shards (see shards.py)

Nobody has to be believed: what is no regular file is not opened, and however large something says it is, or says it
is not, no more than its limit is read.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import overload

from agent.errors import DatasetError
from agent.learning.pictures import shards
from agent.learning.pictures.archive import files_of_archive, is_archive, open_archive
from agent.learning.pictures.labelled import (
    OTHER_FORMATS,
    SPLIT_NAMES,
    SUFFIXES,
    LabelledPicture,
    is_of_system,
    is_picture,
    label_of,
    split_named,
)
from agent.learning.pictures.leftout import LeftOut, missing_classes
from agent.learning.pictures.listing import is_list, pictures_in
from agent.learning.pictures.tree import files_of_folder, not_read, pictures_of


class Dataset(Sequence[LabelledPicture]):
    """The labelled pictures of a source, and what it holds beside them.

    Those of `val` and `test` come first, so that a picture that is also listed under `train` is not trained on.
    """

    def __init__(self, pictures: Iterable[LabelledPicture], left_out: Iterable[LeftOut] = ()) -> None:
        self.pictures = sorted(pictures, key=lambda picture: picture.split not in ("val", "test"))
        self.left_out = list(left_out)

    @overload
    def __getitem__(self, place: int) -> LabelledPicture: ...

    @overload
    def __getitem__(self, place: slice) -> list[LabelledPicture]: ...

    def __getitem__(self, place: int | slice) -> LabelledPicture | list[LabelledPicture]:
        return self.pictures[place]

    def __len__(self) -> int:
        return len(self.pictures)

    def missing(self, failed: Sequence[LeftOut] = ()) -> dict[str, str]:
        """The classes of which no picture is left, and why, in words; `failed` are pictures that cannot be read."""
        kept = Counter(picture.label for picture in self.pictures) - Counter(one.label or "" for one in failed)
        return missing_classes([*self.left_out, *failed], kept)


@contextmanager
def open_dataset(source: Path) -> Iterator[Dataset]:
    """The pictures of a folder, a .zip archive, a .csv or .tsv list or tar shards; readable inside the `with`.

    Raises DatasetError where the source cannot be understood.
    """
    try:
        found = _shards(source)
        in_folder = list(files_of_folder(source)) if source.is_dir() and not found else None
    except OSError as error:
        raise DatasetError(f"{source} cannot be read: {error.strerror}") from error
    if found:
        yield _of_shards(found)
    elif in_folder is not None:
        yield Dataset(*pictures_of(source, in_folder))
    elif is_list(source):
        yield Dataset(pictures_in(source))
    elif is_archive(source):
        with open_archive(source) as archive:
            yield Dataset(*pictures_of(source, files_of_archive(archive)))
    elif source.exists():
        raise DatasetError(f"{source} is no folder, no .zip, no .tar and no .csv or .tsv list of pictures")
    else:
        raise DatasetError(f"{source}: there is no such file or folder")


def _shards(source: Path) -> list[Path]:
    """The tar archives that a source is, or that lie in it; none where it is something else. Raises OSError."""
    if source.is_dir():
        # And not everywhere: there may be a million files.
        splits = (path for path in source.iterdir() if split_named(path.name) and path.is_dir())
        found = [path for place in (source, *splits) for path in place.glob("*.tar") if shards.is_shard(path)]
        return sorted(path for path in found if not is_of_system(path.name))
    return [source] if shards.is_shard(source) else []


def _of_shards(found: list[Path]) -> Dataset:
    pictures, left_out = [], []
    for shard in found:
        classes = shards.class_names(shard.parent)
        split = next((SPLIT_NAMES[word] for word in shards.words(shard) if word in SPLIT_NAMES), None)
        for sample in shards.samples(shard, SUFFIXES, OTHER_FORMATS, classes):
            where, name = f"{shard}/{sample.name}", PurePosixPath(sample.name)
            label = label_of(sample.label, where)
            if is_picture(name):
                pictures.append(LabelledPicture(where, label, split, sample.read))
            else:
                left_out.append(LeftOut(where, not_read(name), label))
    return Dataset(pictures, left_out)
