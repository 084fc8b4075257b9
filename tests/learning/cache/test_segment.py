from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.errors import StateError
from agent.learning.cache import segment, segment_io
from agent.learning.cache.bookkeeping import load_parts
from agent.learning.cache.segment import Layout

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


def written(folder: Path, count: int) -> Path:
    created = segment.create(folder / "00000001.seg", LAYOUT, 16)
    segment_io.write_rows(created, records(count), 0)
    return created.path


@given(size=st.integers(1, 3000), dtype=st.sampled_from(["uint8", "int8", "float32"]), count=st.integers(0, 16))
def test_records_come_back(tmp_path_factory: pytest.TempPathFactory, size: int, dtype: str, count: int) -> None:
    layout = Layout.of("a" * 32, size, dtype, 0.1, -1)
    given_records = records(count, size, layout)
    path = tmp_path_factory.mktemp("segment") / "00000007.seg"
    segment_io.write_rows(segment.create(path, layout, 16), given_records, 0, fill=bool(size % 2))
    opened = segment.open_segment(path, readonly=True)
    assert (opened.number, opened.layout, opened.capacity, opened.replaced) == (7, layout, 16, ())
    assert path.stat().st_size == opened.size_bytes
    (part,), torn = load_parts([opened])
    assert (part.used, torn) == (count, 0)
    assert part.usable().all()
    assert (part.entries[:count] == given_records["stored"]["entry"]).all()
    found = np.zeros((count, size), layout.dtype)
    if count:
        segment_io.read_into(opened, 0, [found], found.nbytes)
    assert found.tobytes() == given_records["bottleneck"].tobytes()


def test_a_segment_of_the_usual_size_takes_its_size() -> None:
    layout = Layout.of("0" * 32, 2048, "uint8", 1.0, 0)
    capacity = segment.capacity_for(layout, segment.TARGET_BYTES)
    size = 4096 * (1 + -(-44 * capacity // 4096)) + 2048 * capacity
    assert size <= segment.TARGET_BYTES
    assert size / capacity < 2100  # bytes of an example


def test_a_segment_cut_at_every_byte_gives_what_is_whole(tmp_path: Path) -> None:
    path = written(tmp_path, 16)
    whole = path.read_bytes()
    truth = records(16)["stored"]["entry"]
    opened = segment.open_segment(path, readonly=True)
    for size in range(len(whole) - 1, -1, -1):
        with path.open("r+b") as file:
            file.truncate(size)
        if size < segment.PAGE_BYTES:
            with pytest.raises(StateError, match=r"damaged header|no segment"):
                segment.open_segment(path, readonly=True)
            continue
        (part,), torn = load_parts([opened])
        held = min(
            max(0, size - segment.PAGE_BYTES) // segment.STORED_ENTRY.itemsize,
            max(0, size - opened.bottleneck_offset(0)) // LAYOUT.size,
        )
        # What is cut off reads as zeros: a bottleneck that ends in zeros may be whole all the same.
        assert held <= part.used <= held + 1
        assert (part.entries[: part.used] == truth[: part.used]).all()
        assert part.used + torn <= 16


@given(data=st.data())
def test_any_flipped_bit_of_the_header_is_seen(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = written(tmp_path_factory.mktemp("segment"), 3)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, segment.PAGE_BYTES - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(StateError):
        segment.open_segment(path, readonly=True)


@given(offset=st.integers(0, 1 << 40), size=st.integers(1, 1 << 20))
def test_pages_are_counted_whole(offset: int, size: int) -> None:
    assert segment_io.page_bytes(offset, size) == 4096 * len(
        {offset // 4096, *range(offset // 4096, (offset + size - 1) // 4096 + 1)}
    )
