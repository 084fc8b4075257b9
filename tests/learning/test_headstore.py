import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from agent.errors import StateError, UnknownHeadError
from agent.learning import headstore
from agent.learning.head import Head
from agent.learning.headstore import HeadStore, summary


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


def test_old_heads_go_but_never_the_one_in_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headstore, "KEEP", 3)
    store = HeadStore(tmp_path / "heads")
    store.add(head(), {})
    store.activate("1")
    for _ in range(5):
        store.add(head(), {})
    assert store.versions() == ["1", "4", "5", "6"]


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
