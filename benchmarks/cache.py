"""The cache beside the study's text files, plain preadv, and SQLite.

    python -m benchmarks.cache [--folder DIR] [--most 1280000]

Bottlenecks of 2,048 bytes. The contestants run in turn; times are medians, and only their ratios mean something on a
machine that does other things too. What goes to a device is read from the kernel's counters of an ext4 file system on
a loop device, which needs root.
"""

import argparse
import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.commands.terminal import columns
from agent.config import CacheConfig
from agent.learning.cache import Cache, CachedExamples, segment
from agent.learning.cache.segment import Layout
from agent.learning.examples import Batch, Shuffled, blocks, in_memory
from agent.learning.progress import Phases
from agent.learning.settings import Settings
from agent.records import Example
from tests import loop_device

SIZE, BATCH = 2048, 100
LAYOUT = Layout.of("0" * 32, SIZE, "uint8", 6 / 255, 0)
EXAMPLES = 10_000
TEXT_FILES = 1000
STREAM_BYTES = 8 << 20  # less than all of them take
_GROUP = 1000


@dataclass(frozen=True)
class Row:
    what: str
    figure: str
    wanted: str = ""
    passed: bool | None = None

    @staticmethod
    def at_least(what: str, figure: float, bound: float, unit: str = "x") -> "Row":
        return Row(what, f"{figure:.3g}{unit}", f">= {bound:g}{unit}", figure >= bound)

    @staticmethod
    def at_most(what: str, figure: float, bound: float, unit: str = "x") -> "Row":
        return Row(what, f"{figure:.3g}{unit}", f"<= {bound:g}{unit}", figure <= bound)


def synthetic(start: int, count: int, rng: np.random.Generator) -> list[Example]:
    rows = rng.integers(0, 256, (count, SIZE), np.uint8)
    return [
        Example(f"{start + at:016x}", f"label {(start + at) % 100}", row, start + at, "door")
        for at, row in enumerate(rows)
    ]


def grow(cache: Cache, count: int) -> None:
    rng = np.random.default_rng(0)
    while (known := len(cache)) < count:
        cache.append(synthetic(known, min(_GROUP, count - known), rng))


def in_turn(contestants: dict[str, Callable[[], object]], times: int) -> dict[str, float]:
    """The median of each in seconds, after one run that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(times + 1):
        for name, run in contestants.items():
            began = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(found[1:]) for name, found in taken.items()}


# Random batches


class TextFiles:
    """The study's scheme, written anew: a file for each bottleneck, its numbers in decimal with commas between."""

    def __init__(self, folder: Path, rng: np.random.Generator) -> None:
        self._paths = [folder / f"{number}.txt" for number in range(TEXT_FILES)]
        for path, row in zip(self._paths, rng.integers(0, 256, (TEXT_FILES, SIZE)) * LAYOUT.scale, strict=True):
            path.write_text(",".join(f"{value:.6f}" for value in row))
        self._rng = rng

    @property
    def mean_bytes(self) -> float:
        return statistics.fmean(path.stat().st_size for path in self._paths)

    def batch(self) -> NDArray[np.float32]:
        rows = []
        for number in self._rng.integers(0, TEXT_FILES, BATCH).tolist():
            with self._paths[number].open() as file:
                rows.append([float(text) for text in file.read().split(",")])
        return np.array(rows, np.float32)


def random_batches(folder: Path, source: CachedExamples) -> Iterator[Row]:
    rng = np.random.default_rng(1)
    text = TextFiles(folder, rng)
    decoded = np.empty((BATCH, SIZE), np.float32)
    out = np.empty((BATCH, SIZE), np.uint8)
    rows = np.arange(source.count, dtype=np.intp)
    streamed = Shuffled(source, rows, STREAM_BYTES, Phases()).batches(BATCH, 0)
    in_all = source.count // BATCH
    loaded = in_memory(source, Settings().memory_bytes, Phases())  # as training does with what fits
    drawn = Shuffled(loaded, rows, Settings().memory_bytes, Phases()).batches(BATCH, 0)

    def decode(raw: NDArray[Any]) -> None:
        np.multiply(raw, np.float32(LAYOUT.scale), out=decoded[: len(raw)])

    def an_epoch(batches: Iterator[Batch]) -> None:
        for batch in batches:
            decode(batch.raw)
            if batch.ends_epoch:
                return

    def directly() -> None:
        decode(source.read(rng.integers(0, source.count, BATCH), out))

    found = in_turn(
        {
            "text": text.batch,
            "direct": directly,
            "streamed": lambda: an_epoch(streamed),
            "memory": lambda: an_epoch(drawn),
        },
        15,
    )
    yield Row("text files: a batch of 100", f"{found['text'] * 1e3:.1f} ms, {text.mean_bytes / 1e3:.1f} kB a file")
    yield Row("the cache, as training reads what fits into its memory", f"{found['memory'] / in_all * 1e3:.3f} ms")
    yield Row.at_least("  times as fast as text files", found["text"] / found["memory"] * in_all, 300)
    yield Row("the cache, as training streams what does not fit", f"{found['streamed'] / in_all * 1e3:.3f} ms")
    yield Row("  times as fast as text files", f"{found['text'] / found['streamed'] * in_all:.3g}x")
    yield Row("the cache, each place at random read by itself", f"{found['direct'] * 1e3:.3f} ms")
    yield Row("  times as fast as text files", f"{found['text'] / found['direct']:.3g}x")


# A cold scan


def cold_scan(folder: Path, source: CachedExamples) -> Iterator[Row]:
    paths = sorted(folder.glob("*.seg"))
    descriptors = [os.open(path, os.O_RDONLY) for path in paths]
    buffer = np.empty(1024 * SIZE, np.uint8)
    fresh = Cache.read(folder)

    def forget() -> None:
        for descriptor in descriptors:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def plain() -> None:
        for descriptor in descriptors:
            at = 0
            while done := os.preadv(descriptor, [buffer.data], at):
                at += done

    def scan(examples: CachedExamples) -> None:
        out = buffer.reshape(1024, SIZE)
        for first in range(0, examples.count, 1024):
            rows = np.arange(first, min(first + 1024, examples.count))
            examples.read(rows, out[: len(rows)])

    taken: dict[str, list[float]] = {"plain": [], "ours": [], "checked": []}
    scan(source)  # checks it
    for turn in range(7):
        unchecked = fresh.examples()
        runs: list[tuple[str, Callable[[], None]]] = [
            ("plain", plain),
            ("ours", lambda: scan(source)),
            ("checked", partial(scan, unchecked)),
        ]
        for name, run in runs[turn % 3 :] + runs[: turn % 3]:
            forget()
            began = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - began)
    for descriptor in descriptors:
        os.close(descriptor)
    fresh.close()
    found = {name: statistics.median(each) for name, each in taken.items()}
    size = sum(path.stat().st_size for path in paths)
    yield Row("cold scan by plain preadv", f"{size / found['plain'] / 1e6:.0f} MB/s")
    yield Row.at_least("  ours, of that", found["plain"] / found["ours"], 0.9)
    yield Row("  ours with the checksums of a first reading", f"{found['plain'] / found['checked']:.3g}x")


# What goes to the device


def sqlite_appends(path: Path, count: int, keyed: bool) -> Callable[[], None]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    key = "PRIMARY KEY" if keyed else "NOT NULL"
    connection.execute(
        f"CREATE TABLE examples (frame_id INTEGER {key}, label INTEGER, camera INTEGER, received_ms INTEGER, "
        "grp INTEGER, split INTEGER, split_said INTEGER, bottleneck BLOB)"
    )
    rng = np.random.default_rng(2)
    frames = rng.integers(0, 1 << 62, count).tolist()

    def run() -> None:
        for frame in frames:
            row = (frame, 1, 0, 1_700_000_000_000, 0, 0, 0, rng.bytes(SIZE))
            connection.execute("INSERT INTO examples VALUES (?,?,?,?,?,?,?,?)", row)
        connection.close()

    return run


def cache_appends(folder: Path, count: int, group: int) -> Callable[[], None]:
    cache = Cache(folder, LAYOUT, CacheConfig(sync_records=group, sync_ms=60_000))
    rng = np.random.default_rng(2)
    frames = rng.integers(0, 1 << 62, count).tolist()

    def run() -> None:
        for frame in frames:
            row = np.frombuffer(rng.bytes(SIZE), np.uint8)
            cache.append([Example(f"{frame:016x}", "glass", row, 1_700_000_000_000, "door")])
        cache.close()

    return run


def device_bytes(folder: Path, count: int = 4000) -> Iterator[Row]:
    if not loop_device.available():
        yield Row("device bytes of an append", "not measured: this needs root, loop devices and mkfs.ext4")
        return
    found: dict[str, float] = {}
    with loop_device.ext4(folder, 512 << 20) as device:
        makers: dict[str, Callable[[], Callable[[], None]]] = {
            "sqlite": lambda: sqlite_appends(device.mount / "keyed.db", count, True),
            "sqlite without key": lambda: sqlite_appends(device.mount / "plain.db", count, False),
            "single": lambda: cache_appends(device.mount / "single", count, 1),
            "ten": lambda: cache_appends(device.mount / "ten", count, 10),
        }
        for name, make in makers.items():
            before = device.written_bytes()
            make()()  # what is made first counts too: tables, segments, labels
            found[name] = (device.written_bytes() - before) / count
    yield Row("device bytes of an append: SQLite, WAL, FULL", f"{found['sqlite'] / 1e3:.1f} kB")
    yield Row("  SQLite without a key, that cannot find a frame", f"{found['sqlite without key'] / 1e3:.1f} kB")
    for name, bound in (("single", 0.35), ("ten", 0.1)):
        text = "the cache, each synced" if name == "single" else "the cache, groups of ten (sync_records: 10)"
        yield Row(text, f"{found[name] / 1e3:.2f} kB")
        yield Row.at_most("  of SQLite", found[name] / found["sqlite"], bound)
        yield Row("  of SQLite without a key", f"{found[name] / found['sqlite without key']:.3g}x")


# Size


def streaming(folder: Path, cache: Cache, sizes: Sequence[int]) -> Iterator[Row]:
    """What an example costs that is read from flash and decoded, block by block, as there are more of them."""
    decoded = np.empty((1024, SIZE), np.float32)

    def scan(source: CachedExamples, warm: bool) -> float:
        if not warm:
            for path in folder.glob("*.seg"):
                descriptor = os.open(path, os.O_RDONLY)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)
        began = time.perf_counter()
        for batch in blocks(source, np.arange(source.count), Phases()):
            np.multiply(batch.raw, np.float32(LAYOUT.scale), out=decoded[: len(batch.raw)])
        return (time.perf_counter() - began) / source.count

    views: list[CachedExamples] = []
    for size in sizes:
        grow(cache, size)
        views.append(cache.examples())
        scan(views[-1], warm=True)  # checks them all
    taken: dict[tuple[int, bool], list[float]] = {}
    for _ in range(5):
        for view in views:
            for warm in (False, True):
                taken.setdefault((view.count, warm), []).append(scan(view, warm))
    for warm in (False, True):
        costs = [statistics.median(taken[size, warm]) for size in sizes]
        where = "that the kernel still has in memory" if warm else "from the device"
        for size, cost in zip(sizes, costs, strict=True):
            yield Row(f"streaming {size:,} examples {where}", f"{cost * 1e6:.2f} us each")
        if warm:
            yield Row("  the dearest, of the smallest cache's", f"{max(costs) / costs[0]:.3g}x")
        else:
            yield Row.at_most("  the dearest, of the smallest cache's", max(costs) / costs[0], 1.15)


def measured(folder: Path, most: int) -> Iterator[Row]:
    cached = folder / "cache"
    (folder / "text").mkdir()
    (folder / "device").mkdir()
    yield from device_bytes(folder / "device")
    with Cache(cached, LAYOUT) as cache:
        grow(cache, EXAMPLES)
        full = segment.open_segment(min(cached.glob("*.seg")), readonly=True)
        yield Row.at_most("stored bytes of an example", full.size_bytes / full.capacity, 2100, " B")
        yield from random_batches(folder / "text", cache.examples())
        yield from streaming(cached, cache, [n for n in (10_000, 50_000, 100_000, 400_000, 1_280_000) if n <= most])
        yield from cold_scan(cached, cache.examples())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="on the medium to measure (default: the temporary folder)")
    parser.add_argument("--most", type=int, default=100_000, help="examples of the largest cache (100000)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.folder, prefix="lastlayer-cache-"))
    try:
        rows = list(measured(folder, options.most))
    finally:
        shutil.rmtree(folder)
    verdicts = {None: "", True: "PASS", False: "FAIL"}
    print(
        columns([["", "", "wanted", ""], *([row.what, row.figure, row.wanted, verdicts[row.passed]] for row in rows)])
    )
    return any(row.passed is False for row in rows)


if __name__ == "__main__":
    sys.exit(main())
