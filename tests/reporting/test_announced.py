from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.board.files import checked_line
from agent.reporting.announced import MAX_ENTITIES, MAX_PHASES, Announced, Memory
from agent.reporting.debounce import State
from agent.reporting.discovery import UNNAMED, Entity
from agent.reporting.topics import ViewName

OPEN = State("open", 0.75, 17, "open", "f" * 16)


def cameras(*names: str) -> tuple[Entity, ...]:
    return tuple(Entity("state", "", name) for name in names)


SEEN = Announced((*UNNAMED, *cameras("front door", "gate")), ("decode",), cameras("garage"))
TASKS = Announced(
    (Entity("head", "gate"), Entity("state", "gate", "yard"), Entity("on", "gate", "yard")),
    ("decode",),
    (*cameras("garage"), Entity("rollback", "feeder"), *UNNAMED),
    ((ViewName("gate", "yard"), OPEN),),
)


@pytest.mark.parametrize("announced", [SEEN, TASKS, SEEN._replace(states=((ViewName("", "gate"), OPEN),))])
def test_what_was_announced_is_known_after_a_restart(announced: Announced, tmp_path: Path) -> None:
    Memory(tmp_path / "announced").keep(announced)
    assert Memory(tmp_path / "announced").announced == announced


BEFORE = b'{"cameras": ["front door", "gate"], "phases": ["decode"], "forgotten": ["garage"]}'


def test_of_a_board_without_tasks_the_file_is_as_it_was_before_there_were_tasks(tmp_path: Path) -> None:
    (tmp_path / "before").write_bytes(checked_line(BEFORE))
    assert Memory(tmp_path / "before").announced == SEEN
    Memory(tmp_path / "announced").keep(SEEN)
    assert (tmp_path / "announced").read_bytes() == checked_line(BEFORE)


def test_a_view_has_the_state_that_was_said_of_it_last_where_that_is_known() -> None:
    seen = SEEN._replace(states=((ViewName("", "gate"), OPEN), (ViewName("", "gone"), OPEN)))
    assert seen.views == {ViewName("", "front door"): None, ViewName("", "gate"): OPEN}
    assert TASKS.views == {ViewName("gate", "yard"): OPEN}


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
    memory.keep(SEEN._replace(entities=cameras("gate")))
    assert Memory(path).announced.entities == cameras("gate")


def test_it_is_bounded(tmp_path: Path) -> None:
    names = tuple(f"{n:04d}{'é' * 98}" for n in range(2000))
    longest = State("é" * 100, 1 / 3, 2**62, "é" * 100, "f" * 16)
    states = tuple((ViewName("", name), longest) for name in names)
    Memory(tmp_path / "announced").keep(Announced((*UNNAMED, *cameras(*names)), names, cameras(*names), states))
    known = Memory(tmp_path / "announced").announced
    assert known.entities == (*UNNAMED, *cameras(*names))[:MAX_ENTITIES]
    assert known.phases == names[:MAX_PHASES]
    assert known.forgotten == cameras(*names[-MAX_ENTITIES:])
    assert known.states == states[:MAX_ENTITIES]


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
        checked_line(b'{"cameras": [], "phases": [], "forgotten": [["state", "gate"]]}'),
        checked_line(b'{"cameras": [], "phases": [], "forgotten": [], "entities": [["lamp", "gate", "yard"]]}'),
        checked_line(b'{"cameras": [], "phases": [], "forgotten": [], "entities": [["state", "gate", 7]]}'),
        checked_line(b'{"cameras": [], "phases": [], "forgotten": [], "states": [["gate", "yard", {"state": "a"}]]}'),
        checked_line(b'{"cameras": [], "phases": [], "forgotten": [], "states": [["gate", "yard", []]]}'),
        b"x" * 3_000_000,
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


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda some: BEFORE[:-1] + some + b"}"))
def test_any_bytes_are_read_as_nothing_or_as_names(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "announced"
        path.write_bytes(checked_line(content))
        announced = Memory(path).announced
        assert all(isinstance(name, str) for entity in announced.entities for name in entity)
        assert all(isinstance(phase, str) for phase in announced.phases)
