"""Who reads a cache while another process writes it sees what was complete when it began."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cache import Cache
from agent.cache.checking import check
from agent.cache.flash import segment
from agent.cache.opening import is_written, locked
from agent.errors import BusyError
from tests.cache.test_cache import LAYOUT, example, labels

ROOT = Path(__file__).resolve().parents[2]

WRITER = """
import sys, threading
from pathlib import Path
from agent.cache import compaction
from agent.config import CacheConfig
from tests.cache.test_cache import LAYOUT, Cache, example
compaction.FRESH_SEGMENTS = 2
cache = Cache(Path(sys.argv[1]), LAYOUT, CacheConfig(max_bytes=400_000))
def compact():
    while True:
        cache.compact()
threading.Thread(target=compact, daemon=True).start()
number = 0
while True:
    count = 1 + number % 37
    cache.append([example(number + at, f"label {(number + at) % 7}") for at in range(count)])
    if number % 3 == 0:
        cache.relabel(example(number).frame_id, f"other {number % 1000}")
    if number % 5 == 0:
        cache.delete([example(number).frame_id])
    number += count
    if cache.status()["evicted"]:
        print("at its quota", flush=True)
"""


def test_a_check_beside_a_writer_finds_nothing_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    command = [sys.executable, "-c", WRITER, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "at its quota\n"
            os.set_blocking(writer.stdout.fileno(), False)
            for _ in range(100):
                assert check(folder) == []
                with Cache.read(folder) as cache:
                    assert (cache.torn, cache.rotten) == (0, 0)
                with open(writer.stdout.fileno(), "rb", closefd=False) as said:
                    said.read()  # a full pipe would stop it
            assert writer.poll() is None
        finally:
            writer.kill()
    Cache(folder, LAYOUT).close()
    assert check(folder) == []


@pytest.fixture
def half_written(tmp_path: Path) -> Path:
    """Three records, a fourth that lacks its end, and a line of the journal likewise."""
    with Cache(tmp_path, LAYOUT) as cache:
        for number in range(4):
            cache.append([example(number)])
    path = tmp_path / "00000001.seg"
    opened = segment.open_segment(path, readonly=False)
    segment.pwrite(opened.descriptor, bytes(12), opened.bottleneck_offset(3) + 12)
    journal = tmp_path / "journal"
    lines = journal.read_bytes().rstrip(b"\0")
    journal.write_bytes(lines + b'0123abcd {"op":"rel' + bytes(4096))
    return tmp_path


def test_what_is_on_its_way_is_not_torn_and_not_there(half_written: Path) -> None:
    held = locked(half_written / "lock")
    assert check(half_written) == []
    with Cache.read(half_written) as cache:
        assert labels(cache) == {example(number).frame_id: "glass" for number in range(3)}
        assert (cache.torn, cache.rotten) == (0, 0)
    os.close(held)


def test_what_nobody_goes_on_writing_is_torn(half_written: Path) -> None:
    assert [(fault.file, fault.row) for fault in check(half_written)] == [("journal", None), ("00000001.seg", 3)]
    with Cache.read(half_written) as cache:
        assert (len(cache), cache.torn, cache.rotten) == (3, 2, 0)
    Cache(half_written, LAYOUT).close()
    assert check(half_written) == []


def test_who_looks_whether_somebody_writes_keeps_no_writer_away(tmp_path: Path) -> None:
    held = locked(tmp_path / "lock")
    assert is_written(tmp_path)
    with pytest.raises(BusyError):
        locked(tmp_path / "lock")
    os.close(held)
    assert not is_written(tmp_path)
    looking = """
import fcntl, sys
file = open(sys.argv[1])
fcntl.flock(file, fcntl.LOCK_SH)
print("shared", flush=True)
sys.stdin.readline()
"""
    command = [sys.executable, "-c", looking, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        assert reader.stdin is not None
        reader.stdin.close()
        held = locked(tmp_path / "lock")  # as soon as that one is gone
    with (tmp_path / "lock").open() as another, pytest.raises(BlockingIOError):
        fcntl.flock(another, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(held)
