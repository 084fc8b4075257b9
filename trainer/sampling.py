"""A few pictures out of many: to calibrate a quantized network with, and to verify it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.errors import DatasetError
from trainer.corpus import SUFFIXES, decode_all, named, read_shard
from trainer.views import crop, whole

Named = tuple[str, bytes]  # where a picture is, for messages, and its file


def _of_shards(paths: list[Path], rng: np.random.Generator) -> tuple[Callable[[int], Named], list[NDArray[np.int64]]]:
    shards = [read_shard(path) for path in paths]
    pictures = [one for path, shard in zip(paths, shards, strict=True) for one in named(path, shard[0])]
    validation = np.concatenate([kept for _, _, kept in shards])
    return pictures.__getitem__, [rng.permutation(np.flatnonzero(rows)) for rows in (~validation, validation)]


def _of_folder(folder: Path, rng: np.random.Generator) -> tuple[Callable[[int], Named], list[NDArray[np.int64]]]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    order = rng.permutation(len(paths))
    kept = len(order) // 5
    return lambda row: (str(paths[row]), paths[row].read_bytes()), [order[kept:], order[:kept]]


def sample_pictures(
    source: Path, size: int, count: int, held_out: int, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Random whole pictures for calibration, and others to verify with: [n, size, size, 3] each.

    `source` is a folder of npz shards (then the second lot comes from their validation pictures) or of
    JPEG and PNG files at any depth. Small sources give fewer. Raises DatasetError without readable pictures.
    """
    if not source.is_dir():
        raise DatasetError(f"{source} is no folder; give a folder of npz shards or of pictures")
    rng = np.random.default_rng(seed)
    shards = sorted(source.glob("*.npz"))
    read, lots = _of_shards(shards, rng) if shards else _of_folder(source, rng)
    chosen = []
    for rows, wanted in zip(lots, (count, held_out), strict=True):
        pictures = decode_all(read(int(row)) for row in rows[:wanted])
        chosen.append([crop(picture, whole(picture), size) for picture in pictures if picture is not None])
    if not all(chosen):
        raise DatasetError(f"{source} holds too few readable pictures to calibrate and to verify with")
    return np.stack(chosen[0]), np.stack(chosen[1])
