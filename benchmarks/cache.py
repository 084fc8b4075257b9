"""Reading the cache, beside the study's text files and plain preadv.

    python -m benchmarks.cache [--folder DIR] [--most 1280000]

Bottlenecks of 2,048 bytes. The contestants run in turn; times are medians, and only their ratios mean something on a
machine that does other things too.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.cache import Cache, CachedExamples
from agent.cache.flash import segment
from agent.learning.training.examples import Batch, Shuffled, blocks, in_memory
from agent.learning.training.progress import Phases
from agent.learning.training.settings import Settings
from agent.measuring.learning import LAYOUT
from agent.records import Example
from benchmarks.peers import TextFiles
from benchmarks.rows import Row, at_least, at_most, beside, finish

BATCH = 100
EXAMPLES = 10_000
STREAM_BYTES = 8 << 20  # less than all of them take
_GROUP = 1000


def synthetic(start: int, count: int, rng: np.random.Generator) -> list[Example]:
    rows = rng.integers(0, 256, (count, LAYOUT.size), np.uint8)
    return [
        Example(f"{start + at:016x}", f"label {(start + at) % 100}", row, start + at, "door")
        for at, row in enumerate(rows)
    ]


def grow(cache: Cache, count: int) -> None:
    rng = np.random.default_rng(0)
    while (known := len(cache)) < count:
        cache.append(synthetic(known, min(_GROUP, count - known), rng))


def in_turn(
    contestants: dict[str, Callable[[], object]], times: int, before: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """The median of each in seconds, after one run that does not count; every time another one is the first.

    `before` is called before each run, and is not timed.
    """
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    runs = list(contestants.items())
    for turn in range(times + 1):
        first = turn % len(runs)
        for name, run in runs[first:] + runs[:first]:
            before()
            began = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(found[1:]) for name, found in taken.items()}


# Random batches


def random_batches(folder: Path, source: CachedExamples) -> Iterator[Row]:
    rng = np.random.default_rng(1)
    text = TextFiles(folder, BATCH, rng)
    decoded, out = (np.empty((BATCH, LAYOUT.size), dtype) for dtype in (np.float32, np.uint8))
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
    text_ms = f"text files {found['text'] * 1e3:.1f} ms ({text.mean_bytes / 1e3:.1f} kB each)"
    for what, taken, goal in (
        ("that fits into memory", found["memory"] / in_all, 300),
        ("streamed", found["streamed"] / in_all, None),
        ("each place by itself", found["direct"], None),
    ):
        ours, ratio = f"{taken * 1e3:.3f} ms", found["text"] / taken
        what = f"a random batch of 100, {what}"
        yield at_least(what, ratio, goal, ours, text_ms) if goal else beside(what, ratio, ours, text_ms)


# A cold scan


def cold_scan(folder: Path, source: CachedExamples) -> Iterator[Row]:
    paths = sorted(folder.glob("*.seg"))
    descriptors = [os.open(path, os.O_RDONLY) for path in paths]
    buffer = np.empty(1024 * LAYOUT.size, np.uint8)

    def forget() -> None:
        for descriptor in descriptors:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def plain() -> None:
        for descriptor in descriptors:
            at = 0
            while done := os.preadv(descriptor, [buffer.data], at):
                at += done

    def scan(examples: CachedExamples) -> None:
        out = buffer.reshape(1024, LAYOUT.size)
        for first in range(0, examples.count, 1024):
            rows = np.arange(first, min(first + 1024, examples.count))
            examples.read(rows, out[: len(rows)])

    scan(source)  # checks it
    with Cache.read(folder) as fresh:
        contestants: dict[str, Callable[[], object]] = {
            "plain": plain,
            "ours": lambda: scan(source),
            "checked": lambda: scan(fresh.examples()),
        }
        found = in_turn(contestants, 7, before=forget)
    for descriptor in descriptors:
        os.close(descriptor)
    size = sum(path.stat().st_size for path in paths)
    rate = {name: f"{size / taken / 1e6:.0f} MB/s" for name, taken in found.items()}
    peer = f"preadv {rate['plain']}"
    yield at_least("cold scan", found["plain"] / found["ours"], 0.9, rate["ours"], peer)
    yield beside("  with the checksums of a first reading", found["plain"] / found["checked"], rate["checked"], peer)


# Size


def streaming(folder: Path, cache: Cache, sizes: Sequence[int]) -> Iterator[Row]:
    """What an example costs that is read from flash and decoded, block by block, as there are more of them."""
    decoded = np.empty((1024, LAYOUT.size), np.float32)

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
        where = "from the page cache" if warm else "from the device"
        what = f"streaming an example of {sizes[0]:,} to {sizes[-1]:,}, {where}: the dearest"
        ours, peer = f"{max(costs) * 1e6:.2f} us", f"of {sizes[0]:,}: {costs[0] * 1e6:.2f} us"
        ratio = max(costs) / costs[0]
        yield beside(what, ratio, ours, peer) if warm else at_most(what, ratio, 1.15, ours, peer)


def measured(folder: Path, most: int) -> Iterator[Row]:
    cached = folder / "cache"
    (folder / "text").mkdir()
    with Cache(cached, LAYOUT) as cache:
        grow(cache, EXAMPLES)
        full = segment.open_segment(min(cached.glob("*.seg")), readonly=True)
        yield at_most("stored bytes of an example", full.size_bytes / full.capacity, 2100, unit=" B")
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
    return finish(rows)


if __name__ == "__main__":
    sys.exit(main())
