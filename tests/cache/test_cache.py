import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.cache import Cache, Layout, compaction
from agent.cache import cache as cache_module
from agent.cache.checking import Fault, check
from agent.cache.flash import segment, segment_io
from agent.errors import BottleneckError, BusyError, LastlayerError, MismatchError, StateError, UnknownFrameError
from agent.records import SPLITS, Example

LAYOUT = Layout.of("0" * 32, 24, "uint8", 0.0235285, 3)


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "TARGET_BYTES", 0)  # 16 records each


def example(number: int, label: str = "glass", layout: Layout = LAYOUT) -> Example:
    bottleneck = np.random.default_rng(number).integers(0, 256, layout.size).astype(layout.dtype)
    return Example(f"{number:016x}", label, bottleneck, 1_700_000_000_000 + number, "door", SPLITS[number % 3], True)


def contents(cache: Cache) -> dict[str, tuple[str, bytes]]:
    """label and split, and bottleneck, by frame id."""
    examples = cache.examples()
    rows = np.arange(examples.count)
    read = examples.read(rows, np.empty((examples.count, examples.size), examples.dtype))
    found = {
        f"{frame_id:016x}": (f"{examples.labels[target]} {SPLITS[split]}", row.tobytes())
        for frame_id, target, split, row in zip(
            examples.frame_ids.tolist(), examples.targets, examples.splits, read, strict=True
        )
    }
    for row in examples.rotten:  # another one stands there
        del found[f"{examples.frame_ids[row]:016x}"]
    return found


def labels(cache: Cache) -> dict[str, str]:
    """by frame id"""
    return {frame_id: label.split()[0] for frame_id, (label, _) in contents(cache).items()}


def expected(examples: list[Example]) -> dict[str, tuple[str, bytes]]:
    return {e.frame_id: (f"{e.label} {e.split}", e.bottleneck.tobytes()) for e in examples}


def test_what_was_appended_is_there_after_reopening(tmp_path: Path) -> None:
    given_examples = [example(number, f"label {number % 5}") for number in range(100)]
    with Cache(tmp_path, LAYOUT) as cache:
        for start in range(0, 100, 7):
            cache.append(given_examples[start : start + 7])
        assert contents(cache) == expected(given_examples)
    with Cache(tmp_path, LAYOUT) as cache:
        assert contents(cache) == expected(given_examples)
        assert len(cache) == 100
        assert cache.label_counts() == {f"label {index}": 20 for index in range(5)}
        assert (cache.torn, cache.rotten) == (0, 0)


def test_appending_goes_on_after_reopening(tmp_path: Path) -> None:
    for number in range(40):
        with Cache(tmp_path, LAYOUT) as cache:
            cache.append([example(number, f"label {number % 3}")])
    with Cache.read(tmp_path) as cache:
        assert contents(cache) == expected([example(number, f"label {number % 3}") for number in range(40)])


def test_examples_are_on_flash_when_append_returns(tmp_path: Path) -> None:
    """Another process that kills itself without closing anything loses nothing that was acknowledged."""
    program = (
        "import sys; sys.path.insert(0, '.')\n"
        "from pathlib import Path; import os, signal\n"
        "from tests.cache.test_cache import Cache, LAYOUT, example\n"
        f"cache = Cache(Path({str(tmp_path)!r}), LAYOUT)\n"
        "for number in range(20): cache.append([example(number)])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run([sys.executable, "-c", program], cwd=root)
    assert ended.returncode == -9
    with Cache(tmp_path, LAYOUT) as cache:
        assert contents(cache) == expected([example(number) for number in range(20)])


def test_labels_in_many_scripts(tmp_path: Path) -> None:
    labels = ["glass", "стекло", "玻璃", "زجاج", "शीशा", "🍾", "a b", '"quoted"', "back\\slash"]
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([example(number, label) for number, label in enumerate(labels)])
    with Cache.read(tmp_path) as cache:
        assert list(cache.label_counts()) == labels


def test_ten_thousand_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "TARGET_BYTES", 1 << 20)
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: None)  # once for each new name: that is not the question
    many = [example(number, f"label {number % 10_000}") for number in range(11_000)]
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append(many)
        assert len(cache.label_counts()) == 10_000
    with Cache.read(tmp_path) as cache:
        examples = cache.examples()
        assert examples.labels == tuple(f"label {number}" for number in range(10_000))
        assert (examples.targets == np.arange(11_000) % 10_000).all()
        assert cache.label_of(many[-1].frame_id) == "label 999"


def test_more_labels_than_a_record_can_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.cache.contents.MOST_NAMES", 3)
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([example(number, f"label {number}") for number in range(3)])
        with pytest.raises(StateError, match="holds 3 labels, and no more fit"):
            cache.append([example(3, "one more")])
        assert len(cache) == 3


def test_a_label_can_be_changed(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([example(0, "glass"), example(1, "glass")])
        cache.relabel(example(1).frame_id, "paper")
        assert cache.label_counts() == {"glass": 1, "paper": 1}
        with pytest.raises(UnknownFrameError):
            cache.relabel("f" * 16, "paper")
    with Cache(tmp_path, LAYOUT) as cache:
        assert cache.label_counts() == {"glass": 1, "paper": 1}
        assert labels(cache) == {example(0).frame_id: "glass", example(1).frame_id: "paper"}


def test_a_frame_is_found_wherever_it_is_and_whatever_happened_to_it(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([example(number * 7919 % 50, "glass") for number in range(40)])  # two full segments, one begun
        cache.relabel(f"{7919 % 50:016x}", "paper")
        cache.append([example(2 * 7919 % 50, "cork")])  # a second record of a frame
        cache.delete([f"{3 * 7919 % 50:016x}"])
        expected = {f"{number * 7919 % 50:016x}": "glass" for number in range(40)}
        expected |= {f"{7919 % 50:016x}": "paper", f"{2 * 7919 % 50:016x}": "cork"}
        del expected[f"{3 * 7919 % 50:016x}"]
        found = {f"{frame:016x}": cache.label_of(f"{frame:016x}") for frame in range(50)}
        assert {frame: label for frame, label in found.items() if label} == expected


def test_a_label_that_no_example_carries_is_not_counted(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([example(0, "old")])
        cache.relabel(example(0).frame_id, "new")
        assert cache.label_counts() == {"new": 1}
        assert cache.examples().labels == ("new",)


def test_rows_are_read_in_any_order(tmp_path: Path) -> None:
    given_examples = [example(number) for number in range(50)]
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append(given_examples)
        rows = np.random.default_rng(0).permutation(50)[:20]
        read = cache.examples().read(rows, np.empty((20, LAYOUT.size), np.uint8))
        assert [row.tobytes() for row in read] == [given_examples[row].bottleneck.tobytes() for row in rows]


def test_a_label_with_few_examples_trains_on_those_that_chance_put_aside(tmp_path: Path) -> None:
    few = [replace(example(number, "few"), split="val", split_said=False) for number in range(2)]
    said = [replace(example(number, "said"), split="val", split_said=True) for number in range(2, 4)]
    many = [replace(example(number, "many"), split="train", split_said=False) for number in range(4, 10)]
    aside = [replace(example(10, "many"), split="test", split_said=False)]
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([*few, *said, *many, *aside])
        splits = [SPLITS[split] for split in cache.examples().splits]
        assert splits == ["train"] * 2 + ["val"] * 2 + ["train"] * 6 + ["test"]


def test_a_view_of_the_examples_does_not_see_later_ones(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([example(0)])
        before = cache.examples()
        cache.append([example(1)])
        assert (before.count, cache.examples().count) == (1, 2)


def test_what_was_deleted_can_be_read_until_it_is_compacted(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([example(number) for number in range(40)])
        deleted = [3, 4, 5, 6, 7]
        cache.delete([f"{number:016x}" for number in deleted])
        examples = cache.examples()
        assert examples.departed.tolist() == deleted
        rows = np.array([39, 0, 35])  # the last five rows are those that were deleted
        read = examples.read(rows, np.empty((3, examples.size), examples.dtype))
        for row, number in zip(read, (7, 0, 3), strict=True):
            np.testing.assert_array_equal(row, example(number).bottleneck)
        assert cache.compact()
        assert cache.examples().departed.tolist() == []


def test_what_was_deleted_and_is_rotten_is_not_replaced_by_another(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([example(number) for number in range(20)])  # of the last segment, all is checked when it is opened
        cache.delete([f"{1:016x}"])
    path = min(tmp_path.glob("*.seg"))
    opened = segment.open_segment(path, readonly=True)
    with path.open("r+b") as file:
        file.seek(opened.bottleneck_offset(1))
        file.write(b"\xff" * 4)
    with Cache.read(tmp_path) as cache, pytest.raises(StateError, match="deleted, is rotten"):
        cache.examples().read(np.array([19]), np.empty((1, LAYOUT.size), np.uint8))


def test_bytes_are_kept_as_they_are(tmp_path: Path) -> None:
    layout = Layout.of("0" * 32, 24, "int8", 0.5, -128)
    with Cache(tmp_path, layout) as cache:
        cache.append([example(3, layout=layout)])
        assert contents(cache) == expected([example(3, layout=layout)])


FLOATS = Layout.of("0" * 32, 3, "float32", 1.0, 0)
HALVES = replace(FLOATS, dtype="float16")  # as earlier versions began it


def of_floats(number: int, *values: float) -> Example:
    return Example(f"{number:016x}", "glass", np.array(values, np.float32), number)


def test_floats_are_kept_as_they_are(tmp_path: Path) -> None:
    given_examples = [of_floats(1, 0.1234, -1e30, 6.0), of_floats(2, 1e-9, 1e6 + 0.0625, -3e-20)]
    with Cache(tmp_path, FLOATS) as cache:
        cache.append(given_examples)
    with Cache(tmp_path, FLOATS) as cache:
        assert contents(cache) == expected(given_examples)


@pytest.mark.parametrize("layout", [FLOATS, HALVES])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_kept(tmp_path: Path, layout: Layout, value: float) -> None:
    with Cache(tmp_path, layout) as cache:
        with pytest.raises(BottleneckError, match="no finite numbers"):
            cache.append([of_floats(1, 1, 2, 3), of_floats(2, 1, value, 3)])
        assert len(cache) == 0
        cache.append([of_floats(1, 1, 2, 3)])
        assert len(cache) == 1


def test_a_cache_that_was_begun_in_float16_goes_on_in_it(tmp_path: Path) -> None:
    with Cache(tmp_path, HALVES) as cache:
        cache.append([of_floats(1, 0.1, 2, 3)])
    with Cache(tmp_path, FLOATS) as cache:
        assert cache.layout == HALVES
        cache.append([of_floats(2, 0.2, 2, 60_000)])
        assert len(contents(cache)) == 2
        for number, values in ((3, (1, 2, 1e6)), (4, (1e-9, 2e-9, -1e-9))):
            with pytest.raises(BottleneckError, match="half precision of this cache"):
                cache.append([of_floats(number, *values)])


def of_before(folder: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    """Append to a cache of float16 as earlier versions did: clipped, and looked at by nobody."""
    with monkeypatch.context() as patch:
        patch.setattr(Layout, "encoded", lambda _, values: np.clip(values, -65504, 65504).astype(np.float16))
        patch.setattr(cache_module, "FINITE", 0)
        with Cache(folder, HALVES) as cache:
            cache.append(examples)


def test_what_earlier_versions_kept_that_is_not_finite_is_passed_over_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    good = [of_floats(number, number, 2, 3) for number in range(40)]
    odd = [of_floats(100, np.nan, 2, 3), of_floats(101, 1, -np.inf, 3), of_floats(102, 1, 2, 1e9)]
    of_before(tmp_path, good[:20] + odd + good[20:], monkeypatch)
    names = [each.frame_id for each in odd]
    for round_ in ("as it was", "compacted"):
        with Cache(tmp_path, HALVES) as cache:
            examples = cache.examples()
            assert (examples.count, examples.not_finite) == (40, names), round_
            assert sorted(contents(cache)) == sorted(each.frame_id for each in good)
            examples.forget_frame_ids()
            assert sorted(examples.frame_ids.tolist()) == list(range(40))
            page, following = cache.page(0, 100)
            assert ([each.frame_id for each in page], following) == ([each.frame_id for each in good], None)
            cache.delete([good[0].frame_id])
            cache.append([good[0]])  # something to compact
            while cache.compact():
                pass
        assert "3 examples are passed over" in caplog.text
        assert sorted(str(fault.frame_id) for fault in check(tmp_path)) == names
    with Cache(tmp_path, HALVES) as cache:
        cache.delete(names)
        assert (cache.examples().count, cache.examples().not_finite) == (40, [])
    assert check(tmp_path) == []


def test_what_was_seen_to_be_finite_is_not_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Cache(tmp_path, FLOATS) as cache:
        cache.append([of_floats(number, number, 2, 3) for number in range(40)])

    def refuse(*arguments: object) -> None:
        raise AssertionError("a bottleneck was read")

    with Cache(tmp_path, FLOATS) as cache, monkeypatch.context() as patch:
        patch.setattr(segment_io, "gather", refuse)
        assert cache.examples().count == 40


@pytest.mark.parametrize(
    "other",
    [
        Layout.of("1" * 32, 24, "uint8", 0.0235285, 3),
        Layout.of("0" * 32, 25, "uint8", 0.0235285, 3),
        Layout.of("0" * 32, 24, "int8", 0.0235285, 3),
        Layout.of("0" * 32, 24, "uint8", 0.5, 3),
        Layout.of("0" * 32, 24, "uint8", 0.0235285, 4),
    ],
)
def test_a_cache_of_another_backbone_is_refused(tmp_path: Path, other: Layout) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([example(0)])
    with pytest.raises(MismatchError, match="must not be mixed"):
        Cache(tmp_path, other)
    with Cache(tmp_path, LAYOUT) as cache:
        assert len(cache) == 1


def test_two_writers_are_refused(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([example(0)])
        with pytest.raises(BusyError, match="another process"):
            Cache(tmp_path, LAYOUT)
        with Cache.read(tmp_path) as reader:
            assert len(reader) == 1
            with pytest.raises(StateError, match="reading only"):
                reader.append([example(1, "new")])
    Cache(tmp_path, LAYOUT).close()


def test_an_empty_cache_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no examples yet"):
        Cache.read(tmp_path)


def test_a_full_disk_refuses_and_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([example(0)])
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            for label in ("glass", "new"):
                with pytest.raises(StateError, match="No space left"):
                    cache.append([example(1, label)])
            with pytest.raises(StateError, match="No space left"):
                cache.relabel(example(0).frame_id, "newer")
        assert contents(cache) == expected([example(0)])
        cache.append([example(1, "new")])
    with Cache.read(tmp_path) as cache:
        assert contents(cache) == expected([example(0), example(1, "new")])


def filled(folder: Path, count: int) -> Path:
    """A cache of `count` examples with the last segment's path."""
    with Cache(folder, LAYOUT) as cache:
        cache.append([example(number, f"label {number % 4}") for number in range(count)])
    return sorted(folder.glob("*.seg"))[-1]


def test_a_torn_record_at_the_end_is_cut_off_and_reported(tmp_path: Path) -> None:
    path = filled(tmp_path, 20)
    last = segment.open_segment(path, readonly=True)
    with path.open("r+b") as file:
        file.seek(last.bottleneck_offset(3) + LAYOUT.size // 2)
        file.write(bytes(LAYOUT.size // 2))  # the last of four records was only half written
    with Cache(tmp_path, LAYOUT) as cache:
        assert (len(cache), cache.torn, cache.rotten) == (19, 1, 0)
        cache.append([example(99)])
    with Cache(tmp_path, LAYOUT) as cache:
        assert (len(cache), cache.torn) == (20, 0)
        assert example(99).frame_id in cache


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def test_a_rotten_entry_is_skipped_and_counted(tmp_path: Path) -> None:
    filled(tmp_path, 20)
    path = tmp_path / "00000001.seg"
    flip(path, segment.open_segment(path, readonly=True).entry_offset(5) + 20)
    with Cache(tmp_path, LAYOUT) as cache:
        assert (len(cache), cache.torn, cache.rotten) == (19, 0, 1)
        assert example(5).frame_id not in cache
    assert [(fault.file, fault.row) for fault in check(tmp_path)] == [("00000001.seg", 5)]


def test_a_rotten_bottleneck_is_replaced_when_it_is_read_and_named_by_check(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path, 20)
    path = tmp_path / "00000001.seg"
    flip(path, segment.open_segment(path, readonly=True).bottleneck_offset(5) + 3)
    with Cache(tmp_path, LAYOUT) as cache:
        examples = cache.examples()
        read = examples.read(np.arange(20), np.empty((20, LAYOUT.size), np.uint8))
        assert examples.rotten == [5]
        assert "row 5 is rotten" in caplog.text
        same = [number for number in range(20) if read[5].tobytes() == example(number).bottleneck.tobytes()]
        assert [(number % 4, number % 3) for number in same] == [(5 % 4, 5 % 3)]  # of its label and split
        assert contents(cache) == expected(LABELLED[:5] + LABELLED[6:20])
    assert check(tmp_path) == [Fault("00000001.seg", "a rotten bottleneck", 5, example(5).frame_id)]


LABELLED = [example(number, f"label {number % 4}") for number in range(64)]


# A few examples in two segments, and what is left of them when one byte is changed or the end is cut off.
COUNT = 18


@pytest.fixture(scope="module", params=["as it came", "compacted"])
def whole(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment, "TARGET_BYTES", 0)
        filled(folder, COUNT)
        if request.param == "compacted":
            patch.setattr(compaction, "FRESH_SEGMENTS", 1)
            with Cache(folder, LAYOUT) as cache:
                assert cache.compact()
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in ("lock", "wear.json")}


def survivors(folder: Path, files: dict[str, bytes]) -> dict[str, tuple[str, bytes]]:
    """The contents of a cache of these files, which must open or be refused with one of our errors."""
    for path in folder.iterdir():
        path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    try:
        with Cache(folder, LAYOUT) as cache:
            found = contents(cache)
            cache.append([example(1000, "label 1")])
            assert contents(cache) == found | expected([example(1000, "label 1")])
            return found
    except LastlayerError:
        return {}


def damaged(change: Callable[[bytes, int], bytes]) -> Callable[..., None]:
    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def run(tmp_path_factory: pytest.TempPathFactory, whole: dict[str, bytes], data: st.DataObject) -> None:
        folder = tmp_path_factory.mktemp("damaged")
        name = data.draw(st.sampled_from(sorted(whole)))
        used = len(whole[name].rstrip(b"\0"))
        at = data.draw(st.integers(0, used - 1))
        intact = expected([example(number, f"label {number % 4}") for number in range(COUNT)])
        found = survivors(folder, {**whole, name: change(whole[name], at)})
        assert found.items() <= intact.items(), "a damaged example was taken for a good one"

    return run


test_no_flipped_bit_is_taken_for_an_example = damaged(
    lambda content, at: content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :]
)
test_no_cut_end_is_taken_for_an_example = damaged(lambda content, at: content[:at])
test_no_zeroed_end_is_taken_for_an_example = damaged(lambda content, at: content[:at] + bytes(len(content) - at))


def test_frame_ids_are_the_same_from_memory_and_from_flash(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([example(number) for number in range(40)])
        for number in range(40, 60):
            cache.append([example(number)])
        cache.delete([example(number).frame_id for number in (3, 17, 45)])
        path = tmp_path / "00000001.seg"
        flip(path, segment.open_segment(path, readonly=True).bottleneck_offset(5) + 3)
        examples = cache.examples()
        before = examples.frame_ids
        rows = np.arange(examples.count)
        examples.read(rows, np.empty((examples.count, LAYOUT.size), np.uint8))
        assert examples.rotten, "another one is read in its place: that is not this one"
        examples.forget_frame_ids()
        np.testing.assert_array_equal(examples.frame_ids, before)
