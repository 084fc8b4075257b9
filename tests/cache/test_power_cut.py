"""The power goes while something is written: of the pages that were not synced, any may be on flash, and others not."""

import itertools
import os
import shutil
from collections.abc import Iterator
from itertools import chain, combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.cache import Cache
from agent.cache.checking import check
from agent.cache.flash import segment
from agent.config import CacheConfig
from agent.records import Example
from tests.cache.crashing import SYNCS, Killed, abandon, flash, killed_at
from tests.cache.test_cache import LAYOUT, contents, example, expected

ACKNOWLEDGED = [example(number, f"label {number % 3}") for number in range(9)]


@pytest.fixture(autouse=True)
def segments_of_64(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 2 * 4096 + 64 * LAYOUT.record.itemsize
    monkeypatch.setattr(segment, "TARGET_BYTES", size)
    monkeypatch.setattr(segment, "INTERLEAVED_BYTES", size)


def begun(folder: Path) -> Path:
    """A cache with some examples, that of a board that was switched off."""
    if not folder.is_dir():
        with Cache(folder, LAYOUT) as cache:
            for one in ACKNOWLEDGED[:3]:
                cache.append([one])
            cache.append(ACKNOWLEDGED[3:])
    return folder


def cut_within(folder: Path, batch: list[int], label: str, lost: set[int] | None, page_bytes: int = 512) -> int:
    """A batch whose sync never ends, then the power cut; how many pages were not synced.

    `lost` are those of them that do not reach flash; None: all.
    """
    cache = Cache(folder, LAYOUT)
    with flash(folder, page_bytes) as watched, pytest.MonkeyPatch.context() as patch:

        def killed(_: int) -> None:
            raise Killed

        cache.append([example(900, label)])  # the label is there
        patch.setattr(os, "fdatasync", killed)
        with pytest.raises(Killed):
            cache.append([example(number, label) for number in batch])
        abandon(cache)
        pages = watched.unsynced()
        watched.cut({page for at, page in enumerate(pages) if lost is None or at in lost})
    return len(pages)


def opens_well(folder: Path, batch: list[int], label: str) -> None:
    """What was acknowledged is there, nothing half, and it stays so; also after another cut while it is mended."""
    truth = expected([*ACKNOWLEDGED, example(900, label)])
    may_be = expected([example(number, label) for number in batch])
    survived = mended(folder)
    assert truth.items() <= survived.items() <= {**truth, **may_be}.items()
    for first in (1000, 1040):
        with Cache(folder, LAYOUT) as cache:
            assert contents(cache) == survived
            assert (cache.torn, cache.rotten) == (0, 0)
            cache.append([example(number, label) for number in range(first, first + 40)])
            cache.append([example(first + 500, label)])
            survived |= expected([example(number, label) for number in [*range(first, first + 40), first + 500]])
        assert check(folder) == []
    with Cache.read(folder) as cache:
        assert contents(cache) == survived
        assert (cache.torn, cache.rotten) == (0, 0)


def mended(folder: Path) -> dict[str, tuple[str, bytes]]:
    with Cache(folder, LAYOUT) as cache:
        assert cache.rotten == 0
        found = contents(cache)
    assert check(folder) == []
    return found


def test_any_pages_of_a_batch_may_be_missing(tmp_path: Path) -> None:
    """All subsets of the 512-byte pages of a small batch."""
    whole, batch = begun(tmp_path / "whole"), list(range(100, 124))
    shutil.copytree(whole, tmp_path / "count")
    count = cut_within(tmp_path / "count", batch, "glass", None)
    assert 4 <= count <= 8
    subsets = chain.from_iterable(combinations(range(count), size) for size in range(count + 1))
    for at, lost in enumerate(subsets):
        folder = tmp_path / str(at)
        shutil.copytree(whole, folder)
        cut_within(folder, batch, "glass", set(lost))
        opens_well(folder, batch, "glass")
        shutil.rmtree(folder)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    count=st.sampled_from([1, 3, 24, 40, 70]),
    page_bytes=st.sampled_from([512, 4096]),
    group=st.sampled_from([1, 50]),
)
def test_whatever_pages_of_whatever_batches_are_missing(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, page_bytes: int, group: int
) -> None:
    """Cuts, one after the other, also while a cache is opened that an earlier one left."""
    folder = tmp_path_factory.mktemp("cut") / "cache"
    config = CacheConfig(sync_records=group, sync_ms=60_000)
    rng = np.random.default_rng(seed)
    acknowledged, numbers = dict[str, tuple[str, bytes]](), itertools.count()
    with flash(folder, page_bytes) as watched:
        for _ in range(rng.integers(1, 5)):
            acknowledged |= appended(folder, config, numbers, count, rng)
            watched.cut({page for page in watched.unsynced() if rng.random() < 0.5})
        survived = mended(folder)
    assert acknowledged.items() <= survived.items()
    assert survived.items() <= expected([named(number) for number in range(next(numbers))]).items()
    with Cache(folder, LAYOUT) as cache:
        cache.append([example(10**6 + number) for number in range(40)])
        assert (len(cache), cache.torn, cache.rotten) == (len(survived) + 40, 0, 0)
    assert check(folder) == []


def named(number: int) -> Example:
    return example(number, "abc"[number % 7 % 3])


def appended(
    folder: Path, config: CacheConfig, numbers: Iterator[int], count: int, rng: np.random.Generator
) -> dict[str, tuple[str, bytes]]:
    """Append until a kill, which may come while the cache is opened; what was acknowledged by then."""
    cache: Cache | None = None
    acknowledged = dict[str, tuple[str, bytes]]()
    try:
        with killed_at(int(rng.integers(0, 14)), SYNCS):
            cache = Cache(folder, LAYOUT, config)
            acknowledged = contents(cache)
            while True:
                batch = [named(next(numbers)) for _ in range(count)]
                cache.append(batch)
                if config.sync_records > 1 and rng.random() < 0.5:
                    cache.sync()
                    acknowledged |= expected(batch)
                elif config.sync_records == 1:
                    acknowledged |= expected(batch)
    except Killed:
        if cache is not None:
            abandon(cache)
    return acknowledged
