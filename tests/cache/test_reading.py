from pathlib import Path

import pytest

from agent.cache import Cache
from agent.cache.flash import segment
from agent.records import Example
from tests.cache.test_cache import LAYOUT, example


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "TARGET_BYTES", 0)  # 16 records each


def turned(cache: Cache, most: int) -> list[Example]:
    """All pages, one after the other."""
    found: list[Example] = []
    start: int | None = 0
    while start is not None:
        examples, start = cache.page(start, most)
        assert len(examples) <= most
        found += examples
    return found


def described(example: Example) -> tuple[object, ...]:
    return (
        example.frame_id,
        example.label,
        example.bottleneck.tobytes(),
        example.received_ms,
        example.camera,
        example.split,
        example.split_said,
        example.group,
    )


@pytest.mark.parametrize("most", [1, 7, 20, 1000])
def test_pages_hold_each_example_once_in_the_order_of_frame_ids(tmp_path: Path, most: int) -> None:
    given = [example(number * 37 % 101, f"label {number % 3}") for number in range(60)]
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append(given)
        cache.delete([given[5].frame_id])
        cache.relabel(given[6].frame_id, "another")
        pages = turned(cache, most)
    kept = sorted((e for e in given if e is not given[5]), key=lambda e: e.frame_id)
    assert [e.frame_id for e in pages] == [e.frame_id for e in kept]
    assert next(e for e in pages if e.frame_id == given[6].frame_id).label == "another"
    unchanged = [e for e in pages if e.frame_id != given[6].frame_id]
    assert [described(e) for e in unchanged] == [described(e) for e in kept if e is not given[6]]


def test_an_empty_cache_is_one_empty_page(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        assert cache.page(0, 10) == ([], None)


def test_what_is_compacted_between_two_pages_is_neither_doubled_nor_lost(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        for number in range(0, 160, 16):
            cache.append([example(n) for n in range(number, number + 16)])
        first, start = cache.page(0, 50)
        assert cache.compact()
        cache.append([example(200)])
        assert start is not None
        rest, end = cache.page(start, 1000)
    assert end is None
    assert [int(e.frame_id, 16) for e in first + rest] == [*range(160), 200]


def test_a_rotten_record_is_left_out_and_the_pages_go_on(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([example(number) for number in range(16)])
        (file,) = tmp_path.glob("*.seg")
        content = bytearray(file.read_bytes())
        at = content.index(example(3).bottleneck.tobytes())
        content[at] ^= 1
        file.write_bytes(content)
        assert [int(e.frame_id, 16) for e in turned(cache, 1)] == [n for n in range(16) if n != 3]
