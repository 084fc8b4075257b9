import itertools
import json
import math
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from agent.errors import RefusedHeadError, StateError, UnknownHeadError
from agent.learning.heads.report import summary
from agent.learning.heads.store import HeadStore
from agent.learning.solving.head import Head


def head(number: int = 0) -> Head:
    weights = np.full((4, 2), number, np.float32)
    return Head(("glass", "стекло"), weights, np.zeros(2, np.float32), "0" * 32)


def test_a_new_store_is_empty(tmp_path: Path) -> None:
    store = HeadStore(tmp_path / "heads")
    assert (store.versions(), store.active()) == ([], None)


def test_versions_only_grow(tmp_path: Path) -> None:
    store = HeadStore(tmp_path / "heads")
    assert [store.add(head(number), {"top1": number / 10}) for number in range(12)] == [str(n) for n in range(1, 13)]
    assert store.versions() == [str(n) for n in range(1, 13)]
    assert store.report("3") == {"version": "3", "top1": 0.2}
    assert summary(store.report("3"))["top1"] == 0.2
    assert (store.load("3").weights == 2).all()


def test_a_head_is_in_service_when_it_was_activated(tmp_path: Path) -> None:
    store = HeadStore(tmp_path / "heads")
    for number in range(2):
        store.add(head(number), {})
    store.activate("2")
    assert HeadStore(tmp_path / "heads").active() == "2"
    assert store.activate("1").labels == ("glass", "стекло")
    assert store.active() == "1"


@pytest.mark.parametrize("version", ["3", "", "..", "0", "active", "1/../1", "¹"])
def test_an_unknown_version_is_refused(tmp_path: Path, version: str) -> None:
    store = HeadStore(tmp_path / "heads")
    store.add(head(), {})
    store.activate("1")
    for call in (store.load, store.report, store.activate):
        with pytest.raises(UnknownHeadError, match="there are: 1"):
            call(version)
    assert store.active() == "1"


def test_a_damaged_head_is_not_activated(tmp_path: Path) -> None:
    store = HeadStore(tmp_path / "heads")
    for _ in range(2):
        store.add(head(), {})
    store.activate("1")
    path = tmp_path / "heads" / "2" / "head.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StateError, match="damaged"):
        store.activate("2")
    assert store.active() == "1"


def test_old_heads_go_but_never_the_one_in_service_and_the_one_before(tmp_path: Path) -> None:
    store = HeadStore(tmp_path / "heads", keep=3)
    for _ in range(3):
        store.add(head(), {})
    for version in "132":
        store.activate(version)
    for _ in range(5):
        store.add(head(), {})
    assert store.versions() == ["2", "3", "6", "7", "8"]
    assert store.rollback() == "3"


def test_what_a_crash_left_behind_is_no_head(tmp_path: Path) -> None:
    store = HeadStore(tmp_path / "heads")
    (tmp_path / "heads" / ".1.partial").mkdir(parents=True)
    (tmp_path / "heads" / ".1.partial" / "head.npz").write_bytes(b"half")
    assert store.versions() == []
    assert store.add(head(), {}) == "1"


def test_heads_that_are_added_at_once_get_versions_of_their_own(tmp_path: Path) -> None:
    store, together = HeadStore(tmp_path / "heads"), threading.Barrier(4)

    def add(number: int) -> str:
        together.wait(20)
        return store.add(head(number), {"number": number})

    with ThreadPoolExecutor(4) as pool:
        versions = list(pool.map(add, range(4)))
    assert sorted(versions) == ["1", "2", "3", "4"]
    assert [store.report(version)["number"] for version in versions] == [0, 1, 2, 3]


def store_of(folder: Path, count: int, *activated: str) -> HeadStore:
    store = HeadStore(folder / "heads")
    for number in range(count):
        store.add(head(number), {"top1": 0.5, "labels": ["glass", "стекло"], "created_ms": 1})
    for version in activated:
        store.activate(version)
    return store


def test_each_rollback_goes_one_further_back_also_after_a_restart(tmp_path: Path) -> None:
    store = store_of(tmp_path, 4, "1", "3", "2", "4")
    assert store.rollback() == "2"
    store = HeadStore(tmp_path / "heads")
    assert (store.rollback(), store.active()) == ("3", "3")
    store.activate("4")
    assert [store.rollback(), store.rollback()] == ["3", "1"]
    with pytest.raises(UnknownHeadError, match="head 1 is in service, and none"):
        store.rollback()
    assert store.active() == "1"


def test_a_rollback_before_the_first_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownHeadError, match="none is in service"):
        HeadStore(tmp_path / "heads").rollback()


def test_a_rollback_skips_what_is_gone_or_damaged(tmp_path: Path) -> None:
    store = store_of(tmp_path, 4, "1", "2", "3", "4")
    shutil.rmtree(tmp_path / "heads" / "3")
    path = tmp_path / "heads" / "2" / "head.npz"
    path.write_bytes(path.read_bytes()[:-1])
    assert store.rollback() == "1"


def test_a_damaged_head_in_service_is_left_by_a_rollback(tmp_path: Path) -> None:
    store = store_of(tmp_path, 2, "1", "2")
    (tmp_path / "heads" / "2" / "head.npz").write_bytes(b"")
    assert store.rollback() == "1"


def test_activating_what_is_in_service_is_no_step_to_return_from(tmp_path: Path) -> None:
    store = store_of(tmp_path, 2, "1", "2", "2")
    assert store.rollback() == "1"


def test_what_an_older_version_wrote_is_a_history_of_one(tmp_path: Path) -> None:
    store = store_of(tmp_path, 2)
    (tmp_path / "heads" / "active").write_text("1\n")
    assert store.active() == "1"
    store.activate("2")
    assert store.rollback() == "1"


@pytest.mark.parametrize("line", [b"\xff\xfe", b"\0\0\0\0", "٣".encode(), b"-1", b"../1"])
def test_a_damaged_line_of_the_history_is_passed_over(tmp_path: Path, line: bytes) -> None:
    store = store_of(tmp_path, 3, "1", "2")
    path = tmp_path / "heads" / "active"
    path.write_bytes(b"1\n" + line + b"\n2\n")
    assert store.history() == ["1", "2"]
    path.write_bytes(line)
    with pytest.raises(StateError, match="damaged"):
        store.active()
    store.add(head(), {})  # keeps going
    store.activate("3")
    assert store.history() == ["3"]


def test_a_damaged_report_does_not_take_the_head_down_with_it(tmp_path: Path) -> None:
    store = store_of(tmp_path, 2, "1")
    path = tmp_path / "heads" / "2" / "report.json"
    path.write_text(path.read_text().replace('"top1": 0.5', '"top1": 0.9'))
    with pytest.raises(StateError, match="sha256 does not match"):
        store.report("2")
    assert (store.load("2").weights == 1).all()
    known = store.summary("2")
    assert (known["labels"], known["top1"]) == (["glass", "стекло"], None)
    assert "damaged" in known["error"]
    store.activate("2")
    assert store.active() == "2"


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_report_that_is_no_report_is_said_to_be_damaged(tmp_path: Path, content: bytes) -> None:
    store = store_of(tmp_path, 1)
    (tmp_path / "heads" / "1" / "report.json").write_bytes(content)
    with pytest.raises(StateError, match="damaged"):
        store.report("1")
    assert store.summary("1")["version"] == "1"


def test_a_report_of_before_there_were_checksums_is_read(tmp_path: Path) -> None:
    store = store_of(tmp_path, 1)
    (tmp_path / "heads" / "1" / "report.json").write_text('{"version": "1", "top1": 0.25}')
    assert store.report("1") == {"version": "1", "top1": 0.25}


def test_a_report_survives_what_json_does_to_it(tmp_path: Path) -> None:
    store = HeadStore(tmp_path / "heads")
    report = {"counts": {1: 2}, "labels": ("a", "стекло"), "loss": 0.1 + 0.2, "top1": None}
    assert store.report(store.add(head(), report)) == {"version": "1", **json.loads(json.dumps(report))}


def test_a_figure_that_is_not_finite_says_nothing(tmp_path: Path) -> None:
    store = HeadStore(tmp_path / "heads")
    store.add(head(), {"top1": math.nan, "curves": [{"step": 1, "loss": math.inf}]})
    assert store.summary("1")["top1"] is None
    assert json.loads((tmp_path / "heads" / "1" / "report.json").read_text())["curves"] == [{"step": 1, "loss": None}]


def test_a_refused_head_goes_into_service_only_by_force(tmp_path: Path) -> None:
    store = store_of(tmp_path, 2, "1")
    store.judged("2", {"accepted": False, "reason": "worse"})
    assert store.summary("2")["accepted"] is False
    assert store.report("2")["top1"] == 0.5
    with pytest.raises(RefusedHeadError, match="head 2 was refused: worse"):
        store.activate("2")
    assert store.active() == "1"
    store.activate("2", force=True)
    assert (store.active(), store.rollback()) == ("2", "1")


def test_activations_and_rollbacks_at_once_leave_a_history_that_holds(tmp_path: Path) -> None:
    store, together = store_of(tmp_path, 3, "1"), threading.Barrier(4)

    def activate(version: str) -> None:
        together.wait(20)
        for _ in range(10):
            store.activate(version)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(activate, ("2", "3", "2", "3")))
    history = store.history()
    assert history[0] == "1"
    assert all(before != after for before, after in itertools.pairwise(history))
    for expected in reversed(history[:-1]):
        assert store.rollback() == expected
