import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agent.cache import Cache, compaction
from agent.cache.checking import check
from agent.cache.flash import segment
from agent.cache.flash.layout import PAGE_BYTES, STORED_ENTRY, Header
from agent.config import CacheConfig
from tests.cache.crashing import Killed, abandon, killed_at
from tests.cache.test_cache import LAYOUT, contents, example, expected, flip

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "TARGET_BYTES", 0)  # 16 records each
    monkeypatch.setattr(compaction, "FRESH_SEGMENTS", 2)


def append(cache: Cache, numbers: range) -> None:
    """One by one, as they come from a camera."""
    for number in numbers:
        cache.append([example(number)])


def files(folder: Path) -> list[str]:
    return sorted(path.stem.lstrip("0") for path in folder.iterdir() if path.suffix in (".seg", ".new"))


def inodes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in folder.iterdir()}


def test_what_comes_alone_goes_into_files_that_are_there(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        append(cache, range(32))
        first = inodes(tmp_path)
        assert cache.compact()
        assert files(tmp_path) == ["3", "4", "5"]
        append(cache, range(32, 64))
        assert files(tmp_path) == ["3", "4", "5"]
        now = inodes(tmp_path)
        assert (now["00000004.seg"], now["00000005.seg"]) == (first["00000001.seg"], first["00000002.seg"])
        assert contents(cache) == expected([example(number) for number in range(64)])
    with Cache(tmp_path, LAYOUT) as cache:
        assert contents(cache) == expected([example(number) for number in range(64)])
        assert (cache.torn, cache.rotten) == (0, 0)
    assert check(tmp_path) == []


def test_they_are_not_filled_with_zeros_again(tmp_path: Path) -> None:
    layout = LAYOUT.of("0" * 32, 2 * PAGE_BYTES - STORED_ENTRY.itemsize, "uint8", 1.0, 0)  # records of two pages
    with Cache(tmp_path, layout) as cache:
        cost = []
        for start in (0, 16, 32):
            before = cache.wear.since_start_bytes
            for number in range(start, start + 16):
                cache.append([example(number, layout=layout)])
            cost.append((cache.wear.since_start_bytes - before) // PAGE_BYTES)
            if start == 16:
                cache.compact()
        assert cost[2] == 16 * 2
        assert cost[1] > 1.5 * cost[2]


def test_what_was_deleted_does_not_come_back_in_a_file_that_is_used_again(tmp_path: Path) -> None:
    """After the compaction nothing on flash says how high the sequence numbers were, but the headers."""
    with Cache(tmp_path, LAYOUT) as cache:
        append(cache, range(32))
        cache.delete([example(number).frame_id for number in range(32)])
        assert cache.compact()
        assert files(tmp_path) == ["4", "5"]
    for number in range(100, 103):
        with Cache(tmp_path, LAYOUT) as cache:
            append(cache, range(number, number + 1))
            assert contents(cache) == expected([example(n) for n in range(100, number + 1)])
    assert check(tmp_path) == []


def test_a_torn_record_among_old_ones_is_cut_off(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        append(cache, range(32))
        cache.compact()
        append(cache, range(32, 37))
    path = tmp_path / "00000004.seg"
    flip(path, segment.open_segment(path, readonly=True).bottleneck_offset(4) + 5)
    with Cache(tmp_path, LAYOUT) as cache:
        assert cache.torn == 1
        assert contents(cache) == expected([example(number) for number in range(36)])
        append(cache, range(40, 44))
    with Cache(tmp_path, LAYOUT) as cache:
        assert contents(cache) == expected([example(number) for number in [*range(36), *range(40, 44)]])
        assert cache.torn == 0
    assert check(tmp_path) == []


def test_a_file_that_a_view_reads_is_left_to_it(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        append(cache, range(32))
        used = {inodes(tmp_path)[name] for name in ("00000001.seg", "00000002.seg")}
        view = cache.examples()
        cache.compact()
        append(cache, range(100, 200))
        read = view.read(np.arange(32), np.empty((32, LAYOUT.size), np.uint8))
        assert [row.tobytes() for row in read] == [example(number).bottleneck.tobytes() for number in range(32)]
        assert view.rotten == []
        assert not used & {*inodes(tmp_path).values()}
        del view
        used = {*inodes(tmp_path).values()}
        cache.compact()
        assert used & {*inodes(tmp_path).values()}


def test_a_file_that_another_process_reads_is_left_to_it(tmp_path: Path) -> None:
    program = """
import sys; from pathlib import Path; import numpy as np
from tests.cache.test_cache import Cache, LAYOUT
examples = Cache.read(Path(sys.argv[1])).examples()
print("open", flush=True)
sys.stdin.readline()
read = examples.read(np.arange(32), np.empty((32, LAYOUT.size), np.uint8))
print(read.tobytes().hex(), examples.rotten, flush=True)
"""
    with Cache(tmp_path, LAYOUT) as cache:
        append(cache, range(32))
        command = [sys.executable, "-c", program, str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdin=-1, stdout=-1, text=True) as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "open\n"
            cache.compact()
            append(cache, range(100, 200))
            said, _ = reader.communicate("\n", timeout=30)
    truth = b"".join(example(number).bottleneck.tobytes() for number in range(32))
    assert said == f"{truth.hex()} []\n"


def test_a_full_cache_gives_their_space_back_first(tmp_path: Path) -> None:
    size = Header(LAYOUT, 16, interleaved=True).size_bytes
    with Cache(tmp_path, LAYOUT) as cache:
        append(cache, range(32))
        cache.compact()
        compacted = (tmp_path / "00000003.seg").stat().st_size
        assert cache.status()["bytes"] == compacted + 2 * size
    with Cache(tmp_path, LAYOUT, CacheConfig(max_bytes=compacted + size)) as cache:
        cache.compact()
        assert cache.status()["bytes"] == compacted + size
        assert (len(cache), cache.status()["evicted"]) == (32, 0)


def test_appends_wait_in_a_bounded_number_of_interleaved_segments(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT, CacheConfig(compact_bytes_per_day=0)) as cache:
        append(cache, range(20 * 16))
        parts = cache._contents.parts
        assert [part.segment.interleaved for part in parts] == [True] * 16 + [False] * 4


@pytest.mark.parametrize("call", range(24))
def test_a_kill_while_files_are_emptied_loses_nothing(tmp_path: Path, call: int) -> None:
    cache = Cache(tmp_path, LAYOUT)
    append(cache, range(40))
    with contextlib.suppress(Killed), killed_at(call):
        cache.compact()
    abandon(cache)
    with Cache(tmp_path, LAYOUT) as cache:
        assert contents(cache) == expected([example(number) for number in range(40)])
        append(cache, range(40, 90))
        assert contents(cache) == expected([example(number) for number in range(90)])
    assert check(tmp_path) == []
