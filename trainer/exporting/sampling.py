"""A few pictures out of many: to calibrate a quantized network with, and to verify it."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.board.files import printable
from agent.errors import DatasetError, ImageError
from agent.learning.pictures.labelled import is_in_other_format, is_picture
from agent.learning.pictures.leftout import LeftOut, lines
from agent.learning.pictures.tree import files_of_folder, not_read
from agent.vision.image import decode
from trainer.making.corpus import named, read_shard

logger = logging.getLogger(__name__)

Named = tuple[str, Callable[[], bytes]]  # where a picture is, for messages, and its file


@dataclass(frozen=True)
class Sample:
    """Whole pictures, decoded as the board decodes them: [n, height, width, 3] each; the two share none."""

    calibration: NDArray[np.uint8]
    held_out: NDArray[np.uint8]
    unreadable: int


def _of_shards(paths: list[Path], rng: np.random.Generator) -> list[list[Named]]:
    """Held out are the shards' validation pictures."""
    lots: list[list[Named]] = [[], []]
    for path in paths:
        payloads, _, validation = read_shard(path)
        for one, kept in zip(named(path, payloads), validation, strict=True):
            lots[int(kept)].append(one)
    return [[lot[row] for row in rng.permutation(len(lot))] for lot in lots]


def _of_folder(folder: Path, rng: np.random.Generator) -> list[list[Named]]:
    """Held out is a fifth of the pictures. Raises DatasetError."""
    pictures: list[Named] = []
    left_out: list[LeftOut] = []
    try:
        found = sorted(files_of_folder(folder), key=lambda one: one[0])
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error.strerror}") from error
    for path, read in found:
        if isinstance(read, str) or is_in_other_format(path):
            left_out.append(LeftOut(f"{folder}/{path}", read if isinstance(read, str) else not_read(path)))
        elif is_picture(path):
            pictures.append((printable(f"{folder}/{path}"), read))
    for line in lines(left_out):
        logger.warning(line)
    order = [pictures[row] for row in rng.permutation(len(pictures))]
    kept = len(order) // 5
    return [order[kept:], order[:kept]]


def sample_pictures(source: Path, sides: tuple[int, int], count: int, held_out: int, seed: int) -> Sample:
    """Random pictures for calibration, and others to verify with; `sides` is height and width.

    `source` is an npz shard, a folder of such, or one of pictures at any depth. Small sources give fewer. A
    picture that cannot be read is logged and counted, and another takes its place. Raises DatasetError without readable
    pictures.
    """
    if not source.is_dir() and source.suffix != ".npz":
        raise DatasetError(f"{source} is no folder; give a folder of npz shards or of pictures, or one shard")
    rng = np.random.default_rng(seed)
    shards = [source] if source.is_file() else sorted(source.glob("*.npz"))
    lots = _of_shards(shards, rng) if shards else _of_folder(source, rng)
    chosen, unreadable = [], 0
    for lot, wanted in zip(lots, (count, held_out), strict=True):
        images, torn = _decoded(lot, sides, wanted)
        chosen.append(images)
        unreadable += torn
    if not all(chosen):
        raise DatasetError(
            f"{source} holds too few readable pictures to calibrate and to verify with: {len(chosen[0])} and "
            f"{len(chosen[1])}, and {unreadable} that cannot be read"
        )
    return Sample(np.stack(chosen[0]), np.stack(chosen[1]), unreadable)


def _decoded(lot: list[Named], sides: tuple[int, int], wanted: int) -> tuple[list[NDArray[np.uint8]], int]:
    """The first `wanted` that can be read, and how many of those before could not."""

    def attempt(one: Named) -> NDArray[np.uint8] | None:
        name, read = one
        try:
            return decode(read(), sides[1], sides[0])
        except (OSError, ImageError) as error:
            logger.warning("%s is skipped: %s", name, error)
            return None

    images: list[NDArray[np.uint8]] = []
    unreadable = 0
    with ThreadPoolExecutor(thread_name_prefix="decode") as pool:
        while lot and len(images) < wanted:
            part, lot = lot[: wanted - len(images)], lot[wanted - len(images) :]
            answers = list(pool.map(attempt, part))
            images += [image for image in answers if image is not None]
            unreadable += sum(image is None for image in answers)
    return images, unreadable
