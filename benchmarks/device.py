"""What goes to the device for a durable example, beside SQLite.

    python -m benchmarks.device [--folder DIR] [--examples 40000]

Bottlenecks of 2,048 bytes, appended one by one, each synced, or in groups of ten; bytes are read from the kernel's
counters of an ext4 file system on a loop device, which needs root. The cache's figures are of all that goes out while
the examples are appended, with the files that are made for them. Beside them stand those of the first 4,000, which go
into files that are new, of the rest, which go into the same files again, and of all with what a compaction writes,
which is asked for every 500 examples. SQLite (WAL, synchronous=FULL) in three schemas:

- indexed: a table in the order of arrival, and a unique index on the frame id. The fair one: like the cache it finds a
  frame again, which labels and deletions need, and no other schema that does costs less. The goals are for this one.
- keyed: the frame id as INTEGER PRIMARY KEY, as one writes it down first. Ids are random, and so are the pages.
- without a key: it cannot find a frame.
"""

import argparse
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from agent.cache import Cache
from agent.config import CacheConfig
from agent.measuring.learning import LAYOUT
from agent.records import Example
from benchmarks.rows import Row, at_most, beside, finish
from tests import loop_device
from tests.loop_device import LoopDevice

SCHEMAS = {
    "indexed": "id INTEGER PRIMARY KEY, frame_id INTEGER NOT NULL UNIQUE",
    "keyed": "frame_id INTEGER PRIMARY KEY",
    "without a key": "frame_id INTEGER NOT NULL",
}
GOALS = {1: 0.35, 10: 0.1}
COMPACT_EVERY = 500
FIRST = 4000


def sqlite_appends(schema: str, path: Path, count: int) -> Callable[[], None]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    columns = "label, camera, received_ms, grp, split, split_said, bottleneck"
    connection.execute(f"CREATE TABLE examples ({SCHEMAS[schema]}, {columns})")
    rng = np.random.default_rng(2)
    frames = rng.integers(0, 1 << 62, count).tolist()

    def run() -> None:
        for frame in frames:
            row = (frame, 1, 0, 1_700_000_000_000, 0, 0, 0, rng.bytes(LAYOUT.size))
            connection.execute(f"INSERT INTO examples (frame_id, {columns}) VALUES (?,?,?,?,?,?,?,?)", row)
        connection.close()

    return run


def cache_appends(device: LoopDevice, group: int, folder: Path, count: int) -> dict[str, float]:
    """Kilobytes of an example: of all of them, of the first, of the others, and of all with the compactions."""
    rng = np.random.default_rng(2)
    frames = rng.integers(0, 1 << 62, count).tolist()
    # What is made first counts too.
    appended, compacted, reached = [], 0, device.written_bytes()
    cache = Cache(folder, LAYOUT, CacheConfig(sync_records=group, sync_ms=60_000))
    for first in range(0, count, COMPACT_EVERY):
        for frame in frames[first : first + COMPACT_EVERY]:
            row = np.frombuffer(rng.bytes(LAYOUT.size), np.uint8)
            cache.append([Example(f"{frame:016x}", "glass", row, 1_700_000_000_000, "door")])
        before, reached = reached, device.written_bytes()
        appended.append(reached - before)
        while cache.compact():
            pass
        before, reached = reached, device.written_bytes()
        compacted += reached - before
    cache.close()
    new = FIRST // COMPACT_EVERY
    return {
        "": sum(appended) / count / 1e3,
        "  of the first 4,000": sum(appended[:new]) / min(count, FIRST) / 1e3,
        "  of the others": sum(appended[new:]) / max(1, count - FIRST) / 1e3,
        "  with compaction": (sum(appended) + compacted) / count / 1e3,
    }


def measured(folder: Path, count: int) -> Iterator[Row]:
    if not loop_device.available():
        yield Row("device bytes of an append", "not measured: this needs root, loop devices and mkfs.ext4")
        return
    sqlite = {}
    with loop_device.ext4(folder, 2 << 30) as device:
        for schema in SCHEMAS:
            before = device.written_bytes()
            sqlite_appends(schema, device.mount / schema.replace(" ", "-"), count)()
            sqlite[schema] = (device.written_bytes() - before) / count / 1e3
        ours = {group: cache_appends(device, group, device.mount / str(group), count) for group in GOALS}
    for group, goal in GOALS.items():
        what = "device bytes of an append, " + ("each synced" if group == 1 else f"groups of {group}")
        peer = f"SQLite, indexed: {sqlite['indexed']:.1f} kB"
        for part, kilobytes in ours[group].items():
            ratio, text = kilobytes / sqlite["indexed"], f"{kilobytes:.2f} kB"
            yield beside(part, ratio, text, peer) if part else at_most(what, ratio, goal, text, peer)
        for schema in ("keyed", "without a key"):
            peer = f"SQLite, {schema}: {sqlite[schema]:.1f} kB"
            yield beside(what, ours[group][""] / sqlite[schema], f"{ours[group]['']:.2f} kB", peer)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="for the image of the device (default: the temporary folder)")
    parser.add_argument("--examples", type=int, default=40_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        return finish(list(measured(Path(folder), options.examples)))


if __name__ == "__main__":
    sys.exit(main())
