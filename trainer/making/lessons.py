"""What a teacher says of a corpus: computed once, kept on disk, and turned into targets batch by batch."""

import hashlib
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from agent.board.files import write_atomically
from agent.reporting.timing import Timer
from trainer.making.corpus import Corpus, Picture
from trainer.making.teacher import Teacher, bottlenecks_of

CHUNK = 256  # pictures whose bottlenecks make one file
TEMPERATURE = 2.0


@dataclass(frozen=True)
class Lessons:
    """What a teacher said of every view of every training picture."""

    teacher: Teacher
    stored: NDArray[Any]  # [N, views, D]
    mean: NDArray[np.float32]  # [D]
    deviation: NDArray[np.float32]  # [D]

    def targets(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        bottlenecks = self.teacher.bottlenecks(self.stored[rows, views])  # [B, D]
        scores = self.teacher.logits(bottlenecks) / TEMPERATURE
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return {
            "features": (bottlenecks - self.mean) / self.deviation,
            "scores": scores / scores.sum(axis=1, keepdims=True),
        }


def taught_by(
    teacher: Teacher,
    corpus: Corpus,
    boxes: NDArray[np.float32],
    cache: Path,
    seed: int,
    workers: int,
    timings: Timer,
) -> Lessons:
    """What the teacher says of the training pictures in `boxes` [N, views, 4], which the seed drew; see `answers`."""
    rows = corpus.train_rows
    with tqdm(desc="teacher", unit=" chunks", disable=None) as bar:

        def report(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        pictures, key = [corpus.pictures[row] for row in rows], f"{corpus.digest} seed {seed}"
        stored = answers(teacher, pictures, boxes[rows], cache, key, workers, report, timings)
    sample = teacher.bottlenecks(stored[:: max(1, len(stored) // 8192), 0])  # [~8192, D]
    return Lessons(teacher, stored, sample.mean(axis=0), np.maximum(sample.std(axis=0), 1e-2))


def _as_file(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def answers(
    teacher: Teacher,
    pictures: list[Picture],
    boxes: NDArray[np.float32],
    cache: Path,
    key: str,
    workers: int,
    report: Callable[[int, int], None],
    timings: Timer,
) -> NDArray[Any]:
    """Stored bottlenecks of every view of every picture: [N, views, D], in the dtype of the teacher.

    They are computed in chunks, each a file below `cache`; what an earlier call has written is read.
    `key` names pictures and boxes; `report` is told how many of how many chunks are there.
    """
    folder = cache / hashlib.sha256(f"{teacher.digest} {key} {boxes.shape}".encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(pictures), CHUNK)

    def chunk(start: int) -> NDArray[Any]:
        path = folder / f"{start:08d}.npy"
        if path.exists():
            return np.asarray(np.load(path))
        part = pictures[start : start + CHUNK]
        with timings.phase("teacher", len(part)):
            made = bottlenecks_of(teacher, part, boxes[start : start + CHUNK])
        write_atomically(path, _as_file(made))
        return made

    def counted(chunks: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        for number, array in enumerate(chunks, 1):
            report(number, len(starts))
            yield array

    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="teacher") as pool:
        return np.concatenate(list(counted(pool.map(chunk, starts))))
