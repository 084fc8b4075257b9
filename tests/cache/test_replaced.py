"""A file of the state in the place of another one: refused in words, and nothing of it is changed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agent import cli
from agent.board.files import checked_line
from agent.cache import Cache
from agent.cache.checking import check
from agent.cache.flash import segment
from agent.errors import StateError
from agent.learning.training.checkpoint import Checkpoint
from agent.learning.training.sums import Statistics
from agent.reporting.mqtt.outbox import open_outbox
from tests.cache.test_cache import LAYOUT, example, labels

REPORTS = checked_line(b'host\t17\t{"cpu":3}') + checked_line(b'host\t18\t{"cpu":4}')
OTHERS: dict[str, bytes] = {
    "reports": REPORTS,
    "active": b"1\n2\n",
    "numbers": checked_line(b"17"),
    "report": b'{"labels": ["a"], "sha256": "0"}',
    "archive": b"PK\x03\x04" + bytes(range(256)) * 8,
    "nothing": b"",
}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    with Cache(tmp_path / "cache", LAYOUT) as cache:
        cache.append([example(number) for number in range(20)])
    return tmp_path


def everything(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != "lock"}


def complaint(state: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Why the cache is not opened; each command says so in a line."""
    for words in (["stats"], ["check"], ["compact"], ["rename", "glass", "x"]):
        assert cli.main(["--state", str(state), "cache", *words]) == 5
        (line,) = capsys.readouterr().err.splitlines()[-1:]
        assert line.startswith("lastlayer cache: ")
    with pytest.raises(StateError) as raised:
        Cache(state / "cache", LAYOUT)
    return str(raised.value)


@pytest.mark.parametrize("other", [*OTHERS, "segment", "folder", "gone"])
def test_another_file_as_the_journal(state: Path, capsys: pytest.CaptureFixture[str], other: str) -> None:
    journal = state / "cache" / "journal"
    own = journal.read_bytes()
    journal.unlink()
    if other == "folder":
        journal.mkdir()
    elif other != "gone":
        found = (state / "cache" / "00000001.seg").read_bytes() if other == "segment" else OTHERS[other]
        journal.write_bytes(found)
    before = everything(state / "cache")
    assert "journal" in complaint(state, capsys)
    assert everything(state / "cache") == before
    if journal.is_dir():
        journal.rmdir()
    journal.write_bytes(own)  # once it is back all is well
    with Cache(state / "cache", LAYOUT) as cache:
        assert len(cache) == 20
    assert check(state / "cache") == []


@pytest.mark.parametrize("other", [*OTHERS, "journal", "folder"])
def test_another_file_as_a_segment(state: Path, capsys: pytest.CaptureFixture[str], other: str) -> None:
    path = state / "cache" / "00000001.seg"
    path.unlink()
    if other == "folder":
        path.mkdir()
    else:
        path.write_bytes((state / "cache" / "journal").read_bytes() if other == "journal" else OTHERS[other])
    before = everything(state / "cache")
    assert path.name in complaint(state, capsys)
    assert everything(state / "cache") == before


def test_a_segment_under_a_name_that_is_no_number(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = state / "cache" / "00000001.seg"
    path.rename(path.with_name("00000001 (copy).seg"))
    before = everything(state / "cache")
    assert "copy" in complaint(state, capsys)
    assert everything(state / "cache") == before


@pytest.mark.parametrize(
    "replace", [lambda path: path.write_bytes(b"[1e999]"), lambda path: path.unlink() or path.mkdir()]
)
def test_what_is_only_counted_is_no_reason_to_stop(state: Path, replace: Callable[[Path], object]) -> None:
    replace(state / "cache" / "wear.json")
    with Cache(state / "cache", LAYOUT) as cache:
        assert len(cache) == 20
    assert check(state / "cache") == []


def test_the_number_of_a_label_whose_name_is_lost_is_not_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "TARGET_BYTES", 0)
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([example(0, "a"), example(1, "b")])
    journal = tmp_path / "journal"
    journal.write_bytes(journal.read_bytes().replace(b'"name":"b"', b'"name":"x"'))
    with Cache(tmp_path, LAYOUT) as cache:
        cache.append([example(2, "c")])
    with Cache(tmp_path, LAYOUT) as cache:
        assert labels(cache) == {example(0).frame_id: "a", example(2).frame_id: "c"}


def test_what_a_retraining_kept_in_the_place_of_what_another_kept(tmp_path: Path) -> None:
    Statistics("0" * 32, 24).save(tmp_path / "training")
    assert Checkpoint(tmp_path / "training").load("0") is None
    Checkpoint(tmp_path / "statistics").save("0", {}, {})
    with pytest.raises(StateError, match="another file"):
        Statistics.load(tmp_path / "statistics")


@pytest.mark.parametrize("content", [REPORTS, REPORTS.splitlines(keepends=True)[0], checked_line(b'{"op":"label"}')])
def test_another_file_as_the_numbers_of_the_reports(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "seq").write_bytes(content)
    outbox = open_outbox(tmp_path, 1 << 20, 3600)
    assert outbox is not None
    outbox.close()
