from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cache import Cache, Layout
from agent.cache.checking import check
from agent.cache.quota import surpluses
from agent.config import CacheConfig
from agent.errors import StateError
from agent.records import Example

LAYOUT = Layout.of("0" * 32, 1024, "uint8", 1.0, 0)
QUOTA = CacheConfig(max_bytes=1 << 20, compact_bytes_per_day=0)


def example(number: int, label: str) -> Example:
    return Example(f"{number:016x}", label, np.full(1024, number % 256, np.uint8), number)


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.seg"))


@given(sizes=st.lists(st.integers(0, 50), min_size=1, max_size=8), count=st.integers(0, 500))
def test_the_largest_always_gives_next(sizes: list[int], count: int) -> None:
    given_up = surpluses(np.array(sizes), count)
    left = list(sizes)
    for _ in range(min(count, sum(sizes))):
        left[left.index(max(left))] -= 1
    assert sorted(np.array(sizes) - given_up) == sorted(left)
    assert (given_up >= 0).all()


def test_a_full_cache_lets_the_oldest_of_the_largest_label_go(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT, QUOTA) as cache:
        cache.append([example(number, "rare") for number in range(50)])
        for start in range(100, 4000, 30):
            cache.append([example(number, "common") for number in range(start, start + 30)])
            assert on_disk(tmp_path) <= 1 << 20
        counts = cache.label_counts()
        assert counts["rare"] == 50
        assert counts["common"] > 600  # what fits, but for two segments and one sixteenth
        kept = sorted(cache.examples().frame_ids.tolist())[50:]
        assert kept == list(range(4000 - len(kept), 4000)), "the latest stay"
        assert cache.status()["evicted"] == 3900 - counts["common"]
    with Cache(tmp_path, LAYOUT) as cache:
        assert cache.label_counts() == counts
        assert cache.status()["evicted"] == 3900 - counts["common"]
    assert check(tmp_path) == []


def test_two_labels_are_levelled(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT, QUOTA) as cache:
        for number in range(3000):
            cache.append([example(number, "many" if number % 3 else "fewer")])
            assert on_disk(tmp_path) <= 1 << 20
        counts = cache.label_counts()
        assert abs(counts["many"] - counts["fewer"]) < 120


def test_what_is_more_than_the_quota_is_refused(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT, QUOTA) as cache:
        cache.append([example(number, "a") for number in range(5000, 5100)])
        with pytest.raises(StateError, match="may take 1048576 bytes"):
            cache.append([example(number, "a") for number in range(2000)])
        assert cache.label_counts() == {"a": 100}, "something was evicted for nothing"
