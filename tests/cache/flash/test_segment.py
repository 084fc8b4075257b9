from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.cache.flash import segment, segment_io
from agent.cache.flash.layout import PAGE_BYTES, STORED_ENTRY, Header, Layout
from agent.cache.part import load_parts
from agent.errors import StateError

LAYOUT = Layout.of("0" * 32, 6, "uint8", 0.5, 3)


def records(count: int, seed: int = 0, layout: Layout = LAYOUT) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    made = np.zeros(count, layout.record)
    entries = made["stored"]["entry"]
    entries["frame_id"] = rng.integers(1, 1 << 62, count)
    entries["sequence"] = 1 + np.arange(count)
    made["bottleneck"] = rng.integers(0, 256, (count, layout.size))
    segment_io.seal(made)
    return made


def written(folder: Path, count: int, *, interleaved: bool) -> Path:
    created = segment.create(folder / "00000001.seg", Header(LAYOUT, 16, interleaved=interleaved))
    segment_io.write_rows(created, records(count), 0)
    return created.path


@given(
    size=st.integers(1, 3000),
    dtype=st.sampled_from(["uint8", "int8", "float32"]),
    count=st.integers(0, 16),
    interleaved=st.booleans(),
    fill=st.booleans(),
)
def test_records_come_back(
    tmp_path_factory: pytest.TempPathFactory, size: int, dtype: str, count: int, interleaved: bool, fill: bool
) -> None:
    layout = Layout.of("a" * 32, size, dtype, 0.1, -1)
    given_records = records(count, size, layout)
    path = tmp_path_factory.mktemp("segment") / "00000007.seg"
    header = Header(layout, 16, interleaved=interleaved, oldest=int(interleaved))
    segment_io.write_rows(segment.create(path, header), given_records, 0, fill=fill)
    opened = segment.open_segment(path, readonly=True)
    assert (opened.number, opened.header, opened.compacted) == (7, header, False)
    assert path.stat().st_size == opened.size_bytes
    (part,), torn = load_parts([opened])
    assert (part.used, torn) == (count, 0)
    assert part.usable().all()
    assert (part.entries[:count] == given_records["stored"]["entry"]).all()
    found = np.zeros((count, size), layout.dtype)
    if count:
        segment_io.gather(opened, np.arange(count), np.arange(count), found)
    assert found.tobytes() == given_records["bottleneck"].tobytes()


@given(
    rows=st.lists(st.integers(0, 63), min_size=1, max_size=64, unique=True).map(sorted),
    size=st.sampled_from([6, 2048, 20_000]),
    interleaved=st.booleans(),
    data=st.data(),
)
def test_any_rows_are_gathered_to_any_places(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], size: int, interleaved: bool, data: st.DataObject
) -> None:
    layout = Layout.of("a" * 32, size, "uint8", 1.0, 0)
    given_records = records(64, 1, layout)
    path = tmp_path_factory.mktemp("segment") / "00000001.seg"
    opened = segment.create(path, Header(layout, 64, interleaved=interleaved))
    segment_io.write_rows(opened, given_records, 0)
    targets = np.array(data.draw(st.permutations(range(len(rows)))))
    found = np.zeros((len(rows), size), np.uint8)
    segment_io.gather(opened, np.array(rows), targets, found)
    assert (found[targets] == given_records["bottleneck"][rows]).all()


def test_records_below_the_oldest_number_are_waiting_space(tmp_path: Path) -> None:
    path = written(tmp_path, 16, interleaved=True)
    opened = segment.open_segment(path, readonly=False)
    begun_again = Header(LAYOUT, 16, interleaved=True, oldest=17)
    segment.pwrite(opened.descriptor, begun_again.packed(), 0)
    again = segment.open_segment(path, readonly=True)
    (part,), torn = load_parts([again])
    assert (part.used, torn) == (0, 0)
    fresh = records(3, 5)
    fresh["stored"]["entry"]["sequence"] = 17
    segment_io.seal(fresh)
    segment_io.write_rows(again_for_writing := segment.open_segment(path, readonly=False), fresh[:2], 0)
    segment.pwrite(again_for_writing.descriptor, fresh[2:].tobytes()[:30], again_for_writing.entry_offset(2))
    (part,), torn = load_parts([again])
    assert (part.used, torn) == (2, 1)
    assert (part.entries[:2] == fresh["stored"]["entry"][:2]).all()


def test_a_segment_of_the_usual_size_takes_its_size() -> None:
    layout = Layout.of("0" * 32, 2048, "uint8", 1.0, 0)
    capacity = segment.capacity_for(layout, segment.TARGET_BYTES)
    size = 4096 * (1 + -(-44 * capacity // 4096)) + 2048 * capacity
    assert size <= segment.TARGET_BYTES
    assert size / capacity < 2100  # bytes of an example


@pytest.mark.parametrize("interleaved", [False, True])
def test_a_segment_cut_at_every_byte_gives_what_is_whole(tmp_path: Path, interleaved: bool) -> None:
    path = written(tmp_path, 16, interleaved=interleaved)
    whole = path.read_bytes()
    truth = records(16)["stored"]["entry"]
    opened = segment.open_segment(path, readonly=True)
    for size in range(len(whole) - 1, -1, -1):
        with path.open("r+b") as file:
            file.truncate(size)
        if size < PAGE_BYTES:
            with pytest.raises(StateError, match=r"damaged header|no segment"):
                segment.open_segment(path, readonly=True)
            continue
        (part,), torn = load_parts([opened])
        held = max(0, size - PAGE_BYTES) // LAYOUT.record.itemsize
        if not interleaved:
            entries = max(0, size - PAGE_BYTES) // STORED_ENTRY.itemsize
            held = min(entries, max(0, size - opened.bottleneck_offset(0)) // LAYOUT.size)
        # What is cut off reads as zeros: a bottleneck that ends in zeros may be whole all the same.
        assert held <= part.used <= held + 1
        assert (part.entries[: part.used] == truth[: part.used]).all()
        assert part.used + torn <= 16


@given(interleaved=st.booleans(), data=st.data())
def test_any_flipped_bit_of_the_header_is_seen(
    tmp_path_factory: pytest.TempPathFactory, interleaved: bool, data: st.DataObject
) -> None:
    path = written(tmp_path_factory.mktemp("segment"), 3, interleaved=interleaved)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, PAGE_BYTES - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(StateError):
        segment.open_segment(path, readonly=True)


@given(offset=st.integers(0, 1 << 40), size=st.integers(1, 1 << 20))
def test_pages_are_counted_whole(offset: int, size: int) -> None:
    assert segment_io.page_bytes(offset, size) == 4096 * len(
        {offset // 4096, *range(offset // 4096, (offset + size - 1) // 4096 + 1)}
    )
