"""Pictures to train on: npz shards of encoded photographs, or class folders, archives and lists as for the board.

A shard holds four arrays: `data` uint8 (all encoded pictures, one after another),
`offsets` int64 [N+1] (picture i is data[offsets[i]:offsets[i+1]]), `label` [N] (any
integers) and `val` [N] (1 for pictures that are kept for validation).

All pictures stay in memory, decoded.
"""

import hashlib
import io
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.board.files import open_regular
from agent.errors import DatasetError, ImageError
from agent.learning.pictures.bursts import split_of
from agent.learning.pictures.dataset import Dataset, open_dataset
from agent.learning.pictures.leftout import complaint, lines
from agent.records import picture_id
from agent.reporting.host import free_bytes
from agent.vision.image import decode_upright

logger = logging.getLogger(__name__)

Picture = NDArray[np.uint8]  # [H, W, 3], RGB

CHUNK = 1024  # pictures between two looks at the memory
MEMORY_SHARE = 0.8  # of what is free when a corpus is read


@dataclass(frozen=True)
class Corpus:
    """Decoded pictures with their classes."""

    pictures: list[Picture]
    classes: NDArray[np.int64]  # [N], class indices 0..K-1
    labels: tuple[str, ...]  # K; of shards their own numbers
    validation: NDArray[np.bool_]  # [N]
    unreadable: int  # pictures that were skipped
    digest: str  # sha256 over pictures, classes and splits, in their order
    test: int = 0  # of the pictures for validation, how many somebody named for testing

    @property
    def train_rows(self) -> NDArray[np.int64]:
        return np.flatnonzero(~self.validation)

    @property
    def validation_rows(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.validation)


def decode_all(named: Iterable[tuple[str, Callable[[], bytes]]], short_side: int | None = None) -> list[Picture | None]:
    """In order; None for each that is no picture, which is logged."""

    def attempt(one: tuple[str, Callable[[], bytes]]) -> Picture | str:
        name, read = one
        try:
            return decode_upright(read(), short_side)
        except (OSError, ImageError) as error:
            return f"{name} is skipped: {error}"

    pictures: list[Picture | None] = []
    with ThreadPoolExecutor(thread_name_prefix="decode") as pool:
        for outcome in pool.map(attempt, named):
            if isinstance(outcome, str):
                logger.warning(outcome)
            pictures.append(None if isinstance(outcome, str) else outcome)
    return pictures


def named(path: Path, payloads: list[bytes]) -> list[tuple[str, Callable[[], bytes]]]:
    return [(f"{path}, picture {n}", lambda payload=payload: payload) for n, payload in enumerate(payloads)]  # type: ignore[misc]


def read_shard(path: Path) -> tuple[list[bytes], NDArray[np.int64], NDArray[np.bool_]]:
    """The encoded pictures, their labels and which of them are for validation. Raises DatasetError."""
    try:
        with io.BufferedReader(open_regular(path)) as file, np.load(file, allow_pickle=False) as shard:
            unpacked = sum(entry.file_size for entry in shard.zip.infolist())
            if unpacked > (free_bytes() or 1 << 62) * MEMORY_SHARE:
                raise DatasetError(f"{path} unpacks to {unpacked} bytes, which do not fit into the memory that is free")
            blob, offsets = shard["data"], shard["offsets"].astype(np.int64)
            labels, validation = shard["label"].astype(np.int64), shard["val"].astype(bool)
    except DatasetError:
        raise
    except KeyError as error:
        raise DatasetError(
            f"{path} lacks an array: {error.args[0]}; a shard needs data, offsets, label, val"
        ) from error
    except Exception as error:  # numpy raises all sorts at what somebody damaged or forged
        raise DatasetError(f"{path} is no readable npz shard: {error!s:.200}") from error
    if any(array.ndim != 1 for array in (blob, offsets, labels, validation)) or (
        not len(labels) == len(validation) == len(offsets) - 1
        or offsets[0] < 0
        or offsets[-1] > blob.size
        or (np.diff(offsets) < 0).any()
    ):
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
    return _corpus(folder, pictures, np.concatenate(labels), np.concatenate(validation), digest.hexdigest())


def read_corpus(source: Path, short_side: int) -> Corpus:
    """Shards, or class folders, a .zip or a .csv list; large pictures of the latter are shortened to `short_side`.

    Raises DatasetError, also where the pictures would not fit into memory.
    """
    if source.is_dir() and any(source.glob("*.npz")):
        return read_shards(source)
    limit = (free_bytes() or 1 << 62) * MEMORY_SHARE
    digest = hashlib.sha256()
    decoded: list[Picture | None] = []
    labels, splits = [], []
    with open_dataset(source) as pictures:
        warn_of_left_out(pictures)
        for start in range(0, len(pictures), CHUNK):
            chunk = [(one.name, _once(one.read)) for one in pictures[start : start + CHUNK]]
            decoded += decode_all(chunk, short_side)
            for one, (_, read), picture in zip(pictures[start:], chunk, decoded[start:], strict=False):
                payload = read() if picture is not None else b""
                split = one.split or split_of(bytes.fromhex(picture_id(payload)))
                labels.append(one.label)
                splits.append(split)
                digest.update(f"{one.label} {split} {len(payload)} ".encode() + payload)
            _check_memory(source, decoded, len(pictures), limit)
    named = np.array(splits)
    return _corpus(source, decoded, np.array(labels), named != "train", digest.hexdigest(), named == "test")


def warn_of_left_out(pictures: Dataset) -> None:
    """What a source holds and is not taken, in the log."""
    for line in lines(pictures.left_out):
        logger.warning(line)
    if missing := pictures.missing():
        logger.warning(complaint(missing))


def _once(read: Callable[[], bytes]) -> Callable[[], bytes]:
    """Reads a file once and remembers it."""
    kept: list[bytes] = []

    def remembered() -> bytes:
        if not kept:
            kept.append(read())
        return kept[0]

    return remembered


def _check_memory(source: Path, decoded: list[Picture | None], count: int, limit: float) -> None:
    taken = sum(picture.nbytes for picture in decoded if picture is not None)
    wanted = taken * count / len(decoded)
    if wanted > limit:
        raise DatasetError(
            f"{source}: its {count} pictures would take {wanted / 1e9:.0f} GB of memory, and {limit / 1e9:.0f} GB are "
            "free: train at a smaller --size, on fewer pictures, or on a larger machine"
        )


def _corpus(
    source: Path,
    pictures: list[Picture | None],
    labels: NDArray[Any],
    validation: NDArray[np.bool_],
    digest: str,
    test: NDArray[np.bool_] | None = None,
) -> Corpus:
    readable = np.array([picture is not None for picture in pictures], dtype=bool)
    if not readable.any():
        raise DatasetError(f"no picture of {source} can be read")
    known, classes = np.unique(labels[readable], return_inverse=True)
    return Corpus(
        pictures=[picture for picture in pictures if picture is not None],
        classes=classes.astype(np.int64),
        labels=tuple(map(str, known)),
        validation=validation[readable],
        unreadable=int((~readable).sum()),
        digest=digest,
        test=0 if test is None else int(test[readable].sum()),
    )
