"""What goes to the device for a durable example, beside SQLite.

    python -m benchmarks.device [--folder DIR] [--examples 4000]

Bottlenecks of 2,048 bytes, appended one by one, each synced; bytes are read from the kernel's counters of an ext4 file
system on a loop device, which needs root. SQLite (WAL, synchronous=FULL) in three schemas:

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
from functools import partial
from pathlib import Path

import numpy as np

from agent.config import CacheConfig
from agent.learning.cache import Cache
from agent.records import Example
from benchmarks.cache import LAYOUT, SIZE
from benchmarks.rows import Row, at_most, beside, finish
from tests import loop_device

SCHEMAS = {
    "indexed": "id INTEGER PRIMARY KEY, frame_id INTEGER NOT NULL UNIQUE",
    "keyed": "frame_id INTEGER PRIMARY KEY",
    "without a key": "frame_id INTEGER NOT NULL",
}
GOALS = {1: 0.35, 10: 0.1}


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
            row = (frame, 1, 0, 1_700_000_000_000, 0, 0, 0, rng.bytes(SIZE))
            connection.execute(f"INSERT INTO examples (frame_id, {columns}) VALUES (?,?,?,?,?,?,?,?)", row)
        connection.close()

    return run


def cache_appends(group: int, folder: Path, count: int) -> Callable[[], None]:
    cache = Cache(folder, LAYOUT, CacheConfig(sync_records=group, sync_ms=60_000))
    rng = np.random.default_rng(2)
    frames = rng.integers(0, 1 << 62, count).tolist()

    def run() -> None:
        for frame in frames:
            row = np.frombuffer(rng.bytes(SIZE), np.uint8)
            cache.append([Example(f"{frame:016x}", "glass", row, 1_700_000_000_000, "door")])
        cache.close()

    return run


def measured(folder: Path, count: int) -> Iterator[Row]:
    if not loop_device.available():
        yield Row("device bytes of an append", "not measured: this needs root, loop devices and mkfs.ext4")
        return
    makers: dict[str, Callable[[Path, int], Callable[[], None]]] = {
        **{schema: partial(sqlite_appends, schema) for schema in SCHEMAS},
        **{f"cache {group}": partial(cache_appends, group) for group in GOALS},
    }
    kilobytes = {}
    with loop_device.ext4(folder, 512 << 20) as device:
        for name, make in makers.items():
            before = device.written_bytes()
            make(device.mount / name.replace(" ", "-"), count)()  # what is made first counts too: tables, segments
            kilobytes[name] = (device.written_bytes() - before) / count / 1e3
    for group, goal in GOALS.items():
        what = "device bytes of an append, " + ("each synced" if group == 1 else f"groups of {group}")
        for schema in SCHEMAS:
            ours, ratio = kilobytes[f"cache {group}"], kilobytes[f"cache {group}"] / kilobytes[schema]
            figures = f"{ours:.2f} kB", f"SQLite, {schema}: {kilobytes[schema]:.1f} kB"
            yield at_most(what, ratio, goal, *figures) if schema == "indexed" else beside(what, ratio, *figures)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="for the image of the device (default: the temporary folder)")
    parser.add_argument("--examples", type=int, default=4000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        return finish(list(measured(Path(folder), options.examples)))


if __name__ == "__main__":
    sys.exit(main())
