"""Labelled pictures as people keep them: class folders, archives, lists.

folder/class/picture.jpg          folder/train/class/picture.jpg (and val, test)
the same inside a .zip, or a Teachable Machine project, whose files are named class-!-0.jpg
list.csv or .tsv with the columns file, class and, if you like, split; files are relative to the list
shard.tar, or a folder of such shards (see shards.py)

Nobody has to be believed: what is no regular file is not opened, and however large something says it is, or says it
is not, no more than its limit is read.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import DatasetError
from agent.learning.pictures import shards
from agent.learning.pictures.archive import files_of_archive, is_archive, open_archive
from agent.learning.pictures.labelled import SPLIT_NAMES, SUFFIXES, LabelledPicture, label_of
from agent.learning.pictures.listing import is_list, pictures_in
from agent.learning.pictures.tree import files_of_folder, pictures_of


@contextmanager
def open_dataset(source: Path) -> Iterator[list[LabelledPicture]]:
    """The pictures of a folder, a .zip archive, a .csv or .tsv list or tar shards; readable inside the `with`.

    Those of `val` and `test` come first, so that a picture that is also listed under
    `train` is not trained on. Raises DatasetError where the source cannot be understood.
    """
    if found := _shards(source):
        yield _ordered(_from_shards(found))
    elif source.is_dir():
        yield _ordered(pictures_of(source, files_of_folder(source)))
    elif is_list(source):
        yield _ordered(pictures_in(source))
    elif is_archive(source):
        with open_archive(source) as archive:
            yield _ordered(pictures_of(source, files_of_archive(archive)))
    elif source.exists():
        raise DatasetError(f"{source} is no folder, no .zip, no .tar and no .csv or .tsv list of pictures")
    else:
        raise DatasetError(f"{source}: there is no such file or folder")


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


def _shards(source: Path) -> list[Path]:
    """The tar archives that a source is, or that lie in it; none where it is something else."""
    if source.is_dir():
        places = [source, *(source / name for name in SPLIT_NAMES)]  # and not everywhere: there may be a million files
        return sorted(path for place in places for path in place.glob("*.tar") if shards.is_shard(path))
    return [source] if shards.is_shard(source) else []


def _from_shards(found: list[Path]) -> Iterator[LabelledPicture]:
    for shard in found:
        classes = shards.class_names(shard.parent)
        split = next((SPLIT_NAMES[word] for word in shards.words(shard) if word in SPLIT_NAMES), None)
        for sample in shards.samples(shard, SUFFIXES, classes):
            where = f"{shard}/{sample.name}"
            yield LabelledPicture(where, label_of(sample.label, where), split, sample.read)
