import threading
from pathlib import Path

import numpy as np
import pytest

from agent.cache import Cache, compaction
from agent.cache.checking import check
from agent.cache.flash import segment
from agent.cache.upkeep import Upkeep
from agent.config import CacheConfig
from agent.errors import StateError
from tests.cache.crashing import Killed, abandon, killed_at
from tests.cache.test_cache import LAYOUT, contents, example, expected, flip, labels
from tests.waiting import until


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "TARGET_BYTES", 0)  # 16 records each


def fill(cache: Cache, count: int) -> None:
    """Sorted by class, as a folder of class folders comes."""
    cache.append([example(number, f"label {number * 4 // count}") for number in range(count)])


def numbers(folder: Path) -> list[int]:
    return [int(path.stem) for path in sorted(folder.glob("*.seg"))]


def compact_all(cache: Cache) -> int:
    done = 0
    while cache.compact():
        done += 1
    return done


def test_fresh_segments_become_one_in_random_order(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        fill(cache, 8 * 16 + 3)
        before = contents(cache)
        assert compact_all(cache) == 1
        assert contents(cache) == before
        assert numbers(tmp_path) == [9, 10]
        targets = cache.examples().targets[3:]
        assert np.count_nonzero(np.diff(targets)) > 60, "still sorted by class"
        cache.append([example(999)])
    with Cache(tmp_path, LAYOUT) as cache:
        assert contents(cache) == before | expected([example(999)])
    assert check(tmp_path) == []


def test_the_order_depends_on_nothing_but_what_was_done(tmp_path: Path) -> None:
    orders = []
    for name in "ab":
        with Cache(tmp_path / name, LAYOUT) as cache:
            fill(cache, 8 * 16)
            compact_all(cache)
            orders.append(cache.examples().frame_ids.tolist())
    assert orders[0] == orders[1] != sorted(orders[0])


def test_few_fresh_segments_are_left_alone(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        fill(cache, 7 * 16)
        assert not cache.compact()


def test_what_was_deleted_and_relabelled_is_folded_in_and_the_journal_shrinks(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        fill(cache, 4 * 16)
        cache.delete([example(number).frame_id for number in range(0, 64, 2)])
        for number in range(1, 64, 4):
            cache.relabel(example(number).frame_id, "relabelled")
        cache.rename_label("label 1", "label 2")
        cache.rename_label("label 3", "drei")
        cache.delete_label("label 0")
        cache.append([example(200, "label 1")])  # which is a new one now
        after = contents(cache)
        journal = len((tmp_path / "journal").read_bytes().rstrip(b"\0"))
        assert compact_all(cache) >= 1
        assert contents(cache) == after
        assert len((tmp_path / "journal").read_bytes().rstrip(b"\0")) < journal / 5
    with Cache(tmp_path, LAYOUT) as cache:
        assert contents(cache) == after
        assert set(cache.label_counts()) == {"relabelled", "label 2", "drei", "label 1"}


def test_what_is_said_during_a_compaction_holds(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        fill(cache, 8 * 16)

        def meanwhile() -> bool:
            cache.rename_label("label 1", "label 2")
            cache.delete_label("label 3")
            cache.relabel(example(0).frame_id, "label 3")  # after it was deleted as a whole
            cache.delete([example(1).frame_id])
            cache.append([example(2, "again"), example(500, "label 1")])
            return False

        assert cache.compact(meanwhile)
        after = labels(cache)
        assert cache.label_counts() == {"label 0": 29, "label 2": 64, "label 3": 1, "again": 1, "label 1": 1}
    with Cache(tmp_path, LAYOUT) as cache:
        assert labels(cache) == after
        compact_all(cache)
        assert labels(cache) == after
    with Cache.read(tmp_path) as cache:
        assert labels(cache) == after


def test_an_older_record_does_not_come_back_when_the_later_one_goes(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([example(number, "old") for number in range(16)])
        cache.append([example(number, "new") for number in [0, *range(100, 115)]])
        cache.append([example(200, "other")])
        cache.delete_label("new")
        truth = labels(cache)
        assert example(0).frame_id not in truth
    with Cache(tmp_path, LAYOUT) as cache:
        assert labels(cache) == truth
        assert cache.compact()  # the second segment; the first has one record that is out of date
        assert numbers(tmp_path) == [1, 3]
    for _ in range(2):
        with Cache(tmp_path, LAYOUT) as cache:
            assert labels(cache) == truth
            cache.delete([example(number).frame_id for number in range(1, 8)])
            truth = labels(cache)
            compact_all(cache)
            assert labels(cache) == truth


def test_a_name_that_nothing_carries_any_more_can_be_given_again(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([example(number, "a") for number in range(4)])
        cache.append([example(number, "b") for number in range(4)])
        cache.append([example(number, "a") for number in range(8)])
        assert cache.compact()  # of "b" there is no record left, but the journal may still name it
        cache.rename_label("a", "b")
        truth = labels(cache)
    with Cache(tmp_path, LAYOUT) as cache:
        assert labels(cache) == truth
        assert cache.label_counts() == {"b": 8}


def test_segments_without_examples_vanish(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        fill(cache, 3 * 16 + 1)
        cache.delete([example(number).frame_id for number in range(48)])
        assert compact_all(cache) == 1
        assert numbers(tmp_path) == [4]
        assert contents(cache) == expected([example(48, "label 3")])


def test_a_compaction_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        fill(cache, 8 * 16)
        assert not cache.compact(lambda: True)
        assert sorted(path.suffix for path in tmp_path.iterdir()) == ["", "", *[".seg"] * 8]


def test_the_budget_of_a_day_is_kept(tmp_path: Path) -> None:
    config = CacheConfig(compact_bytes_per_day=16 * LAYOUT.record.itemsize)
    with Cache(tmp_path, LAYOUT, config) as cache:
        fill(cache, 8 * 16)
        assert not cache.compact()
        cache.delete([example(number).frame_id for number in [*range(12), *range(16, 24)]])
        assert cache.compact()  # what is left of one segment
        assert not cache.compact()
        assert cache.status()["compactions"] == 1


def test_rotten_records_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        fill(cache, 8 * 16)
        before = contents(cache)
    for row in (3, 9):
        flip(
            tmp_path / "00000002.seg",
            segment.open_segment(tmp_path / "00000002.seg", readonly=True).bottleneck_offset(row),
        )
    with Cache(tmp_path, LAYOUT) as cache:
        assert compact_all(cache) == 1
        assert "rows [3, 9]" in caplog.text
        for row in (3, 9):
            del before[example(16 + row).frame_id]
        assert contents(cache) == before
    assert check(tmp_path) == []


def test_a_view_reads_on_from_segments_that_are_gone(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        fill(cache, 8 * 16)
        with Cache.read(tmp_path) as reader:
            before, own = reader.examples(), cache.examples()
            compact_all(cache)
            for view in (before, own):
                read = view.read(np.arange(128), np.empty((128, LAYOUT.size), np.uint8))
                assert [row.tobytes() for row in read] == [example(n).bottleneck.tobytes() for n in range(128)]


def test_readers_never_see_half_a_compaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers that open the cache again and again while it is compacted: all examples, with their last labels."""
    monkeypatch.setattr(compaction, "FRESH_SEGMENTS", 2)
    ended = threading.Event()
    wrong: list[object] = []
    with Cache(tmp_path, LAYOUT) as cache:
        fill(cache, 64)
        cache.rename_label("label 0", "label 1")
        cache.delete([example(63).frame_id])
        truth = labels(cache)

        def read() -> None:
            while not ended.is_set():
                with Cache.read(tmp_path) as reader:
                    found = {name: label for name, label in labels(reader).items() if int(name, 16) < 64}
                    if found != truth:
                        wrong.append(found)

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for round_ in range(1, 12):
                cache.append([example(1000 * round_ + number, "other") for number in range(40)])
                compact_all(cache)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        assert cache.status()["compactions"] > 5
    assert wrong == []


def changed(cache: Cache) -> None:
    cache.delete([example(number).frame_id for number in range(0, 128, 3)])
    cache.rename_label("label 1", "label 2")


def test_a_kill_at_any_instant_of_a_compaction_loses_and_doubles_nothing(tmp_path: Path) -> None:
    call, ended = 0, False
    while not ended:
        folder = tmp_path / str(call)
        with Cache(folder, LAYOUT) as cache:
            fill(cache, 8 * 16 + 3)
            changed(cache)
            truth = contents(cache)
        cache = Cache(folder, LAYOUT)
        with killed_at(call):
            try:
                cache.compact()
                ended = True
            except Killed:
                pass
        abandon(cache)
        with Cache.read(folder) as reader:
            assert contents(reader) == truth, call
        with Cache(folder, LAYOUT) as again:
            assert contents(again) == truth, call
            compact_all(again)
            assert contents(again) == truth, call
        assert check(folder) == []
        assert not list(folder.glob("*.new"))
        call += 1
    assert call > 15


def test_a_full_disk_stops_a_compaction_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with Cache(tmp_path, LAYOUT) as cache:
        fill(cache, 8 * 16 + 3)
        before = contents(cache)
        with monkeypatch.context() as patch:
            patch.setattr("os.posix_fallocate", full)
            with pytest.raises(StateError, match="No space left"):
                cache.compact()
            cache.append([example(700)])
        assert contents(cache) == before | expected([example(700)])
        assert cache.compact()


def test_the_upkeep_compacts_in_the_background_and_stops(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        fill(cache, 8 * 16)
        upkeep = Upkeep([cache], every_s=0.01)
        upkeep.start()
        until(lambda: cache.status()["compactions"] == 1, 30)
        upkeep.stop(10)
        assert "cache-upkeep" not in {thread.name for thread in threading.enumerate()}
        assert len(cache) == 128


def test_choosing_takes_the_stalest(tmp_path: Path) -> None:
    with Cache(tmp_path, LAYOUT) as cache:
        fill(cache, 3 * 16)

        def choose() -> list[int]:
            return [part.segment.number for part in compaction.choose(cache._contents.parts, 1000)]

        assert choose() == []
        cache.delete([example(number).frame_id for number in range(16, 20)])
        assert choose() == []  # a quarter is not worth it yet
        cache.delete([example(number).frame_id for number in [20, *range(32, 45)]])
        assert choose() == [3, 2]
