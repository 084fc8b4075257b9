"""Which task of a state is meant, where it is kept, and what is left over when nobody asks it any more."""

from pathlib import Path

import pytest

from agent.errors import ConfigError, UnknownTaskError
from agent.state import tasks


def begin(state: Path, *names: str) -> None:
    for name in names:
        (tasks.root_of(state, name) / "backbone").mkdir(parents=True)


def learn(state: Path, *names: str) -> None:
    for name in names:
        (tasks.root_of(state, name) / "cache").mkdir(parents=True, exist_ok=True)
        (tasks.root_of(state, name) / "cache" / "00000001.seg").touch()


def test_a_state_of_one_task_is_that_task(tmp_path: Path) -> None:
    assert tasks.meant(tmp_path / "none yet", None) == tmp_path / "none yet"
    learn(tmp_path, "default")
    assert tasks.names(tmp_path) == ["default"]
    assert tasks.meant(tmp_path, None) == tasks.meant(tmp_path, "default") == tmp_path


def test_others_lie_below_it_and_what_is_hidden_or_empty_is_none(tmp_path: Path) -> None:
    learn(tmp_path, "spaces", "gate")
    (tmp_path / "tasks" / "empty").mkdir()
    (tmp_path / "tasks" / ".gate.default" / "cache").mkdir(parents=True)
    assert tasks.names(tmp_path) == ["gate", "spaces"]
    assert tasks.existing(tmp_path, "gate") == tmp_path / "tasks" / "gate"
    assert tasks.state_of(tmp_path / "tasks" / "gate") == tasks.state_of(tmp_path) == tmp_path


def test_where_none_is_named_the_default_one_is_meant_if_it_has_learnt(tmp_path: Path) -> None:
    learn(tmp_path, "spaces", "gate")
    with pytest.raises(UnknownTaskError, match=r"say with --task which is meant .*: gate, spaces$"):
        tasks.meant(tmp_path, None)
    begin(tmp_path, "default")  # as the service does on a board whose configuration names no tasks yet
    with pytest.raises(UnknownTaskError, match=r"say with --task which is meant .*: default, gate, spaces$"):
        tasks.meant(tmp_path, None)
    learn(tmp_path, "default")
    assert tasks.meant(tmp_path, None) == tmp_path


def test_one_that_is_not_there_is_an_error_that_lists_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UnknownTaskError, match="it has none yet"):
        tasks.meant(tmp_path, "gate")
    learn(tmp_path, "spaces", "gate")
    with pytest.raises(UnknownTaskError, match="no task 'default' is kept in .*: it has gate, spaces"):
        tasks.meant(tmp_path, "default")
    for name in ("", "../gate", "a b", "gate/", "ga.te", "x" * 41, "gâte"):
        for ask in (tasks.meant, tasks.meant_to_learn):
            with pytest.raises(ConfigError, match="can be no task's name"):
                ask(tmp_path, name)


def test_a_task_begins_with_its_first_examples_unless_its_name_may_be_a_slip(tmp_path: Path) -> None:
    learn(tmp_path, "gate", "space_1")
    for name in ("feeder", "space_2", "default"):
        assert tasks.meant_to_learn(tmp_path, name) == tasks.root_of(tmp_path, name)
    for name in ("gates", "Gate", "gaet"):
        with pytest.raises(UnknownTaskError, match="did you mean 'gate'.*--new-task"):
            tasks.meant_to_learn(tmp_path, name)
        assert tasks.meant_to_learn(tmp_path, name, new=True) == tmp_path / "tasks" / name
    with pytest.raises(UnknownTaskError, match="say with --task"):
        tasks.meant_to_learn(tmp_path, None)
    assert tasks.meant_to_learn(tmp_path / "none yet", None) == tmp_path / "none yet"


def test_what_has_learnt_and_is_not_configured_is_left_over(tmp_path: Path) -> None:
    begin(tmp_path, "default", "begun")
    learn(tmp_path, "gate", "spaces")
    assert tasks.left_over(tmp_path, {"gate"}) == ["spaces"]
    learn(tmp_path, "default")
    assert tasks.left_over(tmp_path, {"gate"}) == ["default", "spaces"]
    assert "`lastlayer tasks rename spaces NEW`" in tasks.left_over_words("spaces")
