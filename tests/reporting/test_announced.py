from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.board.files import checked_line
from agent.reporting.announced import MAX_NAMES, Announced, Memory

SEEN = Announced(("front door", "gate"), ("decode",), ("garage",))


def test_what_was_announced_is_known_after_a_restart(tmp_path: Path) -> None:
    Memory(tmp_path / "announced").keep(SEEN)
    assert Memory(tmp_path / "announced").announced == SEEN


def test_nothing_is_known_before_and_without_a_file_nothing_stays(tmp_path: Path) -> None:
    assert Memory(tmp_path / "announced").announced == Announced()
    memory = Memory()
    memory.keep(SEEN)
    assert memory.announced == SEEN
    assert Memory().announced == Announced()


def test_it_is_written_only_when_something_changes(tmp_path: Path) -> None:
    path = tmp_path / "announced"
    memory = Memory(path)
    memory.keep(Announced())
    assert not path.exists()
    memory.keep(SEEN)
    path.unlink()
    memory.keep(SEEN)
    assert not path.exists()
    memory.keep(SEEN._replace(cameras=("gate",)))
    assert Memory(path).announced.cameras == ("gate",)


def test_it_is_bounded(tmp_path: Path) -> None:
    names = tuple(f"{n:03d}{'é' * 98}" for n in range(1000))
    Memory(tmp_path / "announced").keep(Announced(names, names, names))
    known = Memory(tmp_path / "announced").announced
    assert known == Announced(names[:MAX_NAMES], names[:MAX_NAMES], names[-MAX_NAMES:])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"rubbish",
        b"00000000 {}\n",
        checked_line(b"{}"),
        checked_line(b"[]"),
        checked_line(b'{"cameras": [1], "phases": [], "forgotten": []}'),
        checked_line(b'{"cameras": null, "phases": [], "forgotten": []}'),
        checked_line(b'{"cameras": [[]], "phases": [], "forgotten": []}'),
        b"x" * 1_000_000,
    ],
)
def test_a_damaged_file_costs_the_memory_and_is_written_anew(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "announced"
    path.write_bytes(content)
    memory = Memory(path)
    assert memory.announced == Announced()
    assert str(path) in caplog.text
    memory.keep(SEEN)
    assert Memory(path).announced == SEEN


def test_a_file_that_cannot_be_written_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "announced").mkdir()
    memory = Memory(tmp_path / "announced")
    memory.keep(SEEN)
    assert memory.announced == SEEN
    assert "cannot be written" in caplog.text


@given(st.binary(max_size=200))
def test_any_bytes_are_read_as_nothing_or_as_names(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "announced"
        path.write_bytes(checked_line(content))
        assert all(isinstance(name, str) for names in Memory(path).announced for name in names)
