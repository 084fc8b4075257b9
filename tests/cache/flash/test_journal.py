from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cache.flash.journal import Journal, read

ENTRIES = st.lists(
    st.dictionaries(st.text(max_size=8), st.one_of(st.text(max_size=20), st.integers(), st.none()), max_size=4),
    max_size=8,
)


def write(path: Path, entries: list[dict[str, object]]) -> None:
    journal = Journal(path, 0)
    for entry in entries:
        journal.append(entry)
    journal.close()


@given(entries=ENTRIES)
def test_entries_come_back_in_order(tmp_path_factory: pytest.TempPathFactory, entries: list[dict[str, object]]) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    write(path, entries)
    lines = path.read_bytes().rstrip(b"\0")
    assert read(path) == (entries, [], len(lines), 0)


@given(entries=ENTRIES.filter(len), data=st.data())
def test_a_torn_last_line_is_no_entry(
    tmp_path_factory: pytest.TempPathFactory, entries: list[dict[str, object]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    write(path, entries)
    whole = path.read_bytes().rstrip(b"\0")
    end = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:end])
    found, damaged, intact, torn = read(path)
    assert found == entries[: whole[:end].count(b"\n")]
    assert (damaged, intact) == ([], whole[:end].rfind(b"\n") + 1)
    assert intact + torn == end


def test_a_damaged_line_is_skipped_and_named(tmp_path: Path) -> None:
    write(tmp_path / "journal", [{"number": n} for n in range(4)])
    lines = (tmp_path / "journal").read_bytes().rstrip(b"\0").splitlines(keepends=True)
    lines[1] = lines[1].replace(b"1", b"7")
    lines[2] = b"rubbish\n"
    (tmp_path / "journal").write_bytes(b"".join(lines))
    assert read(tmp_path / "journal")[:2] == ([{"number": 0}, {"number": 3}], [2, 3])


def test_a_journal_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path / "journal") == ([], [], 0, 0)
