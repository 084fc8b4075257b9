"""Which of several is in use: what every such file does, whatever its names stand for."""

import re
from pathlib import Path

import pytest

from agent.board.history import REMEMBERED, History
from agent.errors import DamagedError, StateError

NAME = re.compile("[a-z]+")


def history(folder: Path, first: str | None = None) -> History:
    return History(folder / "in use", NAME, "`use NAME`", first)


@pytest.mark.parametrize(("first", "names"), [(None, []), ("first", ["first"])])
def test_before_anything_is_in_use_the_first_is_if_there_is_one(
    first: str | None, names: list[str], tmp_path: Path
) -> None:
    assert history(tmp_path, first).names() == names
    assert history(tmp_path, first).rollback(lambda _: True) is None
    assert not any(tmp_path.iterdir()), "asking leaves nothing behind"


def test_it_is_a_line_for_each_name_and_the_last_is_in_use(tmp_path: Path) -> None:
    for name in ("b", "a", "a", "b"):
        history(tmp_path, "first").use(name)
    assert (tmp_path / "in use").read_bytes() == b"first\nb\na\nb\n"
    assert history(tmp_path).names() == ["first", "b", "a", "b"]


def test_a_rollback_skips_what_is_in_use_already_and_what_is_not_usable(tmp_path: Path) -> None:
    (tmp_path / "in use").write_text("a\nb\nc\nb\nb\n")
    assert history(tmp_path).rollback(lambda name: name != "c") == "a"
    assert (tmp_path / "in use").read_bytes() == b"a\n"
    assert history(tmp_path).rollback(lambda _: True) is None
    assert (tmp_path / "in use").read_bytes() == b"a\n"


def test_it_is_bounded_and_the_first_is_never_forgotten(tmp_path: Path) -> None:
    for number in range(REMEMBERED):
        history(tmp_path, "first").use("ab"[number % 2])
    assert (tmp_path / "in use").read_bytes().count(b"\n") == REMEMBERED
    assert history(tmp_path).names()[0] == "a"
    assert history(tmp_path, "first").names()[:2] == ["first", "a"]


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\n1\n"])
def test_where_nothing_is_a_name_it_is_damaged_and_begins_anew_with_the_next(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "in use").write_bytes(content)
    for ask in (history(tmp_path).names, lambda: history(tmp_path).rollback(lambda _: True)):
        with pytest.raises(StateError, match="damaged: `use NAME` writes it anew"):
            ask()
    assert history(tmp_path).readable_names() == []
    history(tmp_path).use("c")
    assert history(tmp_path).names() == ["c"]


def test_what_cannot_be_read_or_written_is_a_state_error(tmp_path: Path) -> None:
    (tmp_path / "in use").mkdir()
    with pytest.raises(DamagedError, match="it is a folder"):
        history(tmp_path).names()
    history(tmp_path).use("a")
    assert history(tmp_path).names() == ["a"]
    with pytest.raises(StateError, match="cannot be written"):
        history(tmp_path / "in use").use("a")
