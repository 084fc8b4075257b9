"""Pictures to train on: npz shards of encoded photographs, and folders of them.

A shard holds four arrays: `data` uint8 (all encoded pictures, one after another),
`offsets` int64 [N+1] (picture i is data[offsets[i]:offsets[i+1]]), `label` [N] (any
integers) and `val` [N] (1 for pictures that are kept for validation).
"""

import hashlib
import io
import logging
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from agent.errors import DatasetError

logger = logging.getLogger(__name__)

Picture = NDArray[np.uint8]  # [H, W, 3], RGB

FORMATS = ("JPEG", "PNG")
SUFFIXES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True)
class Corpus:
    """Decoded pictures with their classes."""

    pictures: list[Picture]
    classes: NDArray[np.int64]  # [N], class indices 0..K-1
    class_ids: NDArray[np.int64]  # [K], the shards' own number of each class
    validation: NDArray[np.bool_]  # [N]
    unreadable: int  # pictures that were skipped
    digest: str  # sha256 over the shards, in the order of their names

    @property
    def train_rows(self) -> NDArray[np.int64]:
        return np.flatnonzero(~self.validation)

    @property
    def validation_rows(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.validation)


def decode(payload: bytes) -> Picture:
    """The picture at its own size, uint8 [H, W, 3]. Raises ValueError if it is none."""
    try:
        with Image.open(io.BytesIO(payload), formats=FORMATS) as image:
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error


def decode_all(named: Iterable[tuple[str, bytes]]) -> list[Picture | None]:
    """In order; None for each that is no picture, which is logged."""

    def attempt(one: tuple[str, bytes]) -> Picture | str:
        name, payload = one
        try:
            return decode(payload)
        except ValueError as error:
            return f"{name} is skipped: {error}"

    pictures: list[Picture | None] = []
    with ThreadPoolExecutor(thread_name_prefix="decode") as pool:
        for outcome in pool.map(attempt, named):
            if isinstance(outcome, str):
                logger.warning(outcome)
            pictures.append(None if isinstance(outcome, str) else outcome)
    return pictures


def named(path: Path, payloads: list[bytes]) -> list[tuple[str, bytes]]:
    return [(f"{path}, picture {number}", payload) for number, payload in enumerate(payloads)]


def read_shard(path: Path) -> tuple[list[bytes], NDArray[np.int64], NDArray[np.bool_]]:
    """The encoded pictures, their labels and which of them are for validation."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as shard:
            blob, offsets = shard["data"], shard["offsets"].astype(np.int64)
            labels, validation = shard["label"].astype(np.int64), shard["val"].astype(bool)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path} is no readable npz shard: {error}") from error
    except KeyError as error:
        raise DatasetError(
            f"{path} lacks an array: {error.args[0]}; a shard needs data, offsets, label, val"
        ) from error
    if not len(labels) == len(validation) == len(offsets) - 1 or offsets[-1] > blob.size:
        raise DatasetError(f"{path}: offsets, label, val and data do not fit each other")
    return [blob[begin:end].tobytes() for begin, end in pairwise(offsets)], labels, validation


def read_shards(folder: Path) -> Corpus:
    """Reads and decodes every *.npz of a folder; all pictures stay in memory.

    An unreadable picture is logged, counted and left out. Raises DatasetError if the
    folder or a shard cannot be read, or holds no picture.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder; give the folder that holds the npz shards")
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise DatasetError(f"{folder} holds no *.npz shard")
    pictures: list[Picture | None] = []
    labels: list[NDArray[np.int64]] = []
    validation: list[NDArray[np.bool_]] = []
    digest = hashlib.sha256()
    for path in paths:
        payloads, shard_labels, shard_validation = read_shard(path)
        digest.update(shard_labels.tobytes() + shard_validation.tobytes() + b"".join(payloads))
        pictures += decode_all(named(path, payloads))
        labels.append(shard_labels)
        validation.append(shard_validation)
    readable = np.array([picture is not None for picture in pictures], dtype=bool)
    if not readable.any():
        raise DatasetError(f"no picture in the shards of {folder} can be read")
    class_ids, classes = np.unique(np.concatenate(labels)[readable], return_inverse=True)
    return Corpus(
        pictures=[picture for picture in pictures if picture is not None],
        classes=classes.astype(np.int64),
        class_ids=class_ids,
        validation=np.concatenate(validation)[readable],
        unreadable=int((~readable).sum()),
        digest=digest.hexdigest(),
    )
