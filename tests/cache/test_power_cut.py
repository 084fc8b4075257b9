"""The power goes while something is written: of the pages that were not synced, any may be on flash, and others not."""

import os
import shutil
from collections.abc import Iterator
from itertools import chain, combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.cache import Cache
from agent.cache.checking import check
from agent.cache.flash import segment
from agent.config import CacheConfig
from tests.cache.crashing import Flash, Killed, abandon, flash, killed_at
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


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    count=st.sampled_from([1, 3, 24, 40, 70]),
    page_bytes=st.sampled_from([512, 4096]),
    group=st.sampled_from([1, 50]),
)
def test_whatever_pages_of_whatever_batches_are_missing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, count: int, page_bytes: int, group: int
) -> None:
    folder = tmp_path_factory.mktemp("cut") / "cache"
    config = CacheConfig(sync_records=group, sync_ms=60_000)
    acknowledged, numbers = dict[str, tuple[str, bytes]](), iter(range(10**6))
    with flash(folder, page_bytes) as watched:
        for _ in range(data.draw(st.integers(1, 4))):
            acknowledged = cut_somewhere(folder, watched, config, acknowledged, numbers, count, data)
        survived = mended(folder)
        assert acknowledged.items() <= survived.items()
    for frame_id, (label, bottleneck) in survived.items():
        truth = example(int(frame_id, 16))
        assert bottleneck == truth.bottleneck.tobytes()
        assert label.endswith(truth.split)


def cut_somewhere(
    folder: Path,
    watched: Flash,
    config: CacheConfig,
    acknowledged: dict[str, tuple[str, bytes]],
    numbers: Iterator[int],
    count: int,
    data: st.DataObject,
) -> dict[str, tuple[str, bytes]]:
    """Append until a kill, which may come while the cache is opened; then the cut. What is acknowledged by then."""
    cache: Cache | None = None
    try:
        with killed_at(data.draw(st.integers(0, 40))):
            cache = Cache(folder, LAYOUT, config)
            acknowledged = contents(cache) | acknowledged
            while True:
                label = data.draw(st.sampled_from("abc"))
                batch = [example(next(numbers), label) for _ in range(count)]
                cache.append(batch)
                if config.sync_records > 1:
                    cache.sync()
                acknowledged = acknowledged | expected(batch)
    except Killed:
        if cache is not None:
            abandon(cache)
    lost = {page for page in watched.unsynced() if data.draw(st.booleans())}
    watched.cut(lost)
    return acknowledged
