"""The pictures of the demo: real ones that come inside scikit-learn, or one's own."""

import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agent.errors import ConfigError, DatasetError
from agent.learning.pictures.dataset import open_dataset
from agent.learning.pictures.labelled import LabelledPicture
from agent.learning.pictures.leftout import complaint, lines
from agent.records import picture_id
from agent.terminal import say

LABELLED = 720  # pictures in all, so that the demo takes seconds whatever the folder holds
HELD_OUT = 120
TILE = 80  # pixels


@dataclass(frozen=True)
class Pictures:
    """What is shown to the board. No picture is in both lists, not even as a copy under another name."""

    source: str
    labelled: list[LabelledPicture]
    held_out: list[LabelledPicture]

    @property
    def labels(self) -> list[str]:
        return sorted({picture.label for picture in self.labelled})


@contextmanager
def open_pictures(photos: Path | None, seed: int) -> Iterator[Pictures]:
    """Those of a folder, archive or list, or the ones of scikit-learn; readable inside the `with`.

    Raises DatasetError where there are fewer than two classes, ConfigError without scikit-learn.
    """
    if photos is None:
        source = "real ones that come with scikit-learn: handwritten digits, tiles of two photographs"
        yield replace(choose(_of_scikit_learn(), seed), source=source)
    else:
        with open_dataset(photos) as pictures:
            for line in lines(pictures.left_out):
                say(line)
            if missing := pictures.missing():
                say(f"warning: {complaint(missing)}")
            yield replace(choose(pictures, seed), source=str(photos))


def choose(pictures: Sequence[LabelledPicture], seed: int) -> Pictures:
    """So many of each class, drawn by `seed`: some to be labelled, and some that never are.

    What a list calls val or test is held out; where it calls nothing so, a quarter of each
    class is. Raises DatasetError where there are fewer than two classes.
    """
    classes: defaultdict[str, list[LabelledPicture]] = defaultdict(list)
    for picture in pictures:
        classes[picture.label].append(picture)
    if len(classes) < 2:
        raise DatasetError(f"the demo tells classes apart and needs two of them, here is only {', '.join(classes)}")
    in_splits = any(_is_reserved(picture) for picture in pictures)
    rng = np.random.default_rng(seed)
    seen: set[str] = set()
    labelled, held_out = [], []
    for own in classes.values():
        drawn = [own[i] for i in rng.permutation(len(own))]
        quarter = drawn[: len(own) // 4]
        reserved = [picture for picture in drawn if _is_reserved(picture)] if in_splits else quarter
        free = [picture for picture in drawn if not _is_reserved(picture)] if in_splits else drawn[len(quarter) :]
        held_out += _distinct(reserved, max(2, HELD_OUT // len(classes)), seen)
        labelled += _distinct(free, max(5, LABELLED // len(classes)), seen)
    if not labelled or not held_out:
        raise DatasetError("there are too few pictures to hold some out: the demo needs at least four of a class")
    mixed = [labelled[i] for i in rng.permutation(len(labelled))]  # as they would come, not class by class
    return Pictures("", mixed, [held_out[i] for i in rng.permutation(len(held_out))])


def _is_reserved(picture: LabelledPicture) -> bool:
    return picture.split in ("val", "test")


def _distinct(pictures: Iterable[LabelledPicture], most: int, seen: set[str]) -> list[LabelledPicture]:
    """The first `most` whose bytes are not among `seen`, which they are added to."""
    found: list[LabelledPicture] = []
    for picture in pictures:
        if len(found) == most:
            break
        try:
            digest = picture_id(picture.read())
        except OSError as error:
            say(f"{picture.name}: cannot be read, left out: {error}")
            continue
        if digest not in seen:
            seen.add(digest)
            found.append(picture)
    return found


def _of_scikit_learn() -> list[LabelledPicture]:
    try:
        from sklearn.datasets import load_digits, load_sample_images
    except ImportError as error:
        raise ConfigError(
            f"the demo's pictures come with scikit-learn, which cannot be imported ({error}): "
            "install the extra `demo` of lastlayer, or show pictures of your own with --photos FOLDER"
        ) from error
    digits = load_digits()  # scans of 8 x 8 pixels, 0 is paper and 16 is ink
    photographs = load_sample_images()
    pictures = [
        _picture(f"digits {i}", f"digit {digit}", np.pad(255 - (scan * 255 / 16).astype(np.uint8), 1, mode="edge"))
        for i, (scan, digit) in enumerate(zip(digits.images, digits.target, strict=True))
    ]
    for name, photograph in zip(photographs.filenames, photographs.images, strict=True):
        # Tiles do not overlap: none that is held out shares a pixel with one that is labelled.
        for top in range(0, photograph.shape[0] - TILE + 1, TILE):
            for left in range(0, photograph.shape[1] - TILE + 1, TILE):
                tile = photograph[top : top + TILE, left : left + TILE]
                pictures.append(_picture(f"{Path(name).name} at {left},{top}", Path(name).stem, tile))
    return pictures


def _picture(name: str, label: str, pixels: NDArray[np.uint8]) -> LabelledPicture:
    payload = png(pixels)
    return LabelledPicture(name, label, None, lambda: payload)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Grey [H, W] or RGB [H, W, 3] as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
