import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from agent.cache import Cache
from agent.cache.checking import check
from agent.cache.flash import segment
from agent.config import CacheConfig
from agent.errors import StateError
from tests.cache.test_cache import LAYOUT, contents, example, expected
from tests.waiting import until


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "TARGET_BYTES", 0)  # 16 records each


class Syncs:
    """Counts fdatasync, and can hold it back or let it fail."""

    def __init__(self) -> None:
        self.count = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self.error: OSError | None = None
        self._real = os.fdatasync

    def __call__(self, descriptor: int) -> None:
        self.count += 1
        assert self.go_on.wait(30)
        if self.error is not None:
            raise self.error
        self._real(descriptor)


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Syncs]:
    counted = Syncs()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", counted)
        yield counted


def test_every_append_is_synced_by_default(tmp_path: Path, syncs: Syncs) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([example(0)])
        before = syncs.count
        for number in range(1, 6):
            cache.append([example(number)])
        assert syncs.count - before == 5


def test_threads_that_append_together_share_a_sync(tmp_path: Path, syncs: Syncs) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([example(0)])
        before = syncs.count
        syncs.go_on.clear()
        threads = [threading.Thread(target=cache.append, args=([example(n)],)) for n in range(1, 9)]
        for thread in threads:
            thread.start()
        until(lambda: len(cache) == 9, 30)  # all are written, and one waits for flash
        syncs.go_on.set()
        for thread in threads:
            thread.join()
        assert syncs.count - before <= 3
    with Cache(tmp_path, LAYOUT) as cache:
        assert contents(cache) == expected([example(n) for n in range(9)])


def test_a_group_is_synced_when_it_is_full(tmp_path: Path, syncs: Syncs) -> None:
    with Cache(tmp_path, LAYOUT, CacheConfig(sync_records=4, sync_ms=60_000)) as cache:
        cache.append([example(0)])
        before = syncs.count
        for number in (1, 2):
            cache.append([example(number)])
        assert syncs.count == before
        cache.append([example(3)])
        assert syncs.count == before + 1
        cache.append([example(4)])
        assert syncs.count == before + 1
    assert syncs.count == before + 2  # closing loses nothing
    assert "cache-sync" not in {thread.name for thread in threading.enumerate()}


def test_a_group_that_does_not_fill_is_synced_in_time(tmp_path: Path, syncs: Syncs) -> None:
    with Cache(tmp_path, LAYOUT, CacheConfig(sync_records=1000, sync_ms=10)) as cache:
        cache.append([example(0)])
        cache.sync()
        before = syncs.count
        cache.append([example(1)])
        until(lambda: syncs.count > before, 30)
        in_time = syncs.count
    assert syncs.count == in_time  # nothing was left for the closing


@pytest.mark.parametrize("group", [1, 2])
def test_what_could_not_be_synced_is_not_there(tmp_path: Path, syncs: Syncs, group: int) -> None:
    with Cache(tmp_path, LAYOUT, CacheConfig(sync_records=group, sync_ms=60_000)) as cache:
        cache.append([example(number) for number in range(5)])
        syncs.error = OSError(5, "Input/output error")
        with pytest.raises(StateError, match="Input/output error"):
            cache.append([example(4, "glass"), example(77, "glass")])
        syncs.error = None
        assert contents(cache) == expected([example(number) for number in range(5)])
        cache.append([example(78)])
        truth = expected([example(number) for number in (0, 1, 2, 3, 4, 78)])
        assert contents(cache) == truth
    with Cache(tmp_path, LAYOUT) as cache:
        assert contents(cache) == truth
    assert check(tmp_path) == []


def test_a_frame_that_comes_again_takes_the_place_of_the_first(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([example(0, "old"), example(1), example(0, "newer")])
        cache.append([example(0, "newest")])
        assert cache.label_counts() == {"glass": 1, "newest": 1}
    with Cache(tmp_path, LAYOUT) as cache:
        assert contents(cache) == expected([example(1), example(0, "newest")])


def test_the_label_that_an_example_has_is_not_written_again(tmp_path: Path, syncs: Syncs) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([example(0, "glass")])
        before = syncs.count, cache.status()["written_bytes"], (tmp_path / "journal").read_bytes()
        assert cache.relabel(example(0).frame_id, "glass") is False
        assert (syncs.count, cache.status()["written_bytes"], (tmp_path / "journal").read_bytes()) == before
        assert cache.relabel(example(0).frame_id, "paper") is True
        assert (tmp_path / "journal").read_bytes() != before[2]


def test_the_same_label_is_said_to_be_there_only_once_its_example_is_on_flash(tmp_path: Path, syncs: Syncs) -> None:
    with Cache(tmp_path, LAYOUT) as cache, ThreadPoolExecutor(2) as pool:
        cache.append([example(0)])
        syncs.go_on.clear()
        append = pool.submit(cache.append, [example(1)])
        until(lambda: example(1).frame_id in cache, 30)
        again = pool.submit(cache.relabel, example(1).frame_id, "glass")  # as by a client that lost its patience
        assert not wait([again], 0.2).done
        syncs.error = OSError(5, "Input/output error")
        syncs.go_on.set()
        for said in (append, again):
            with pytest.raises(StateError):
                said.result(30)
        syncs.error = None
        assert cache.relabel(example(0).frame_id, "glass") is False
