from dataclasses import replace
from pathlib import Path

from agent.reporting.announced import Memory
from agent.reporting.announcer import Announcer
from agent.reporting.discovery import Entity
from agent.reporting.entities import SETTLING
from agent.reporting.timing import Timings
from tests.reporting.home import DOOR, FEEDER, GATE, SPACES, TASKS, YARD, Home, announcer_on, of_gate, seen


def test_what_was_announced_is_announced_after_a_restart(tmp_path: Path) -> None:
    before, timings = announcer_on(Home(), tmp_path / "announced"), Timings(node="porch", runtime="none")
    before.result(seen("door"))
    timings.add("decode", 1.0)
    before.timings(timings.reports())
    home = Home()
    announcer_on(home, tmp_path / "announced").discover()
    assert {"camera_door", "phase_decode"} <= home.components.keys()


def test_a_change_is_said_again_when_home_assistant_has_had_time(tmp_path: Path) -> None:
    home = Home()
    announcer = announcer_on(home, tmp_path / "announced")
    announcer.result(seen("door"))
    announcer.result(seen("gate"))
    for _ in range(10):
        announcer.settle()
    assert home.announced == [{"camera_door": True}] + [{"camera_door": True, "camera_gate": True}] * (1 + SETTLING)


def test_a_camera_that_is_forgotten_is_removed_and_then_left_out(tmp_path: Path) -> None:
    home = Home()
    announcer = announcer_on(home, tmp_path / "announced")
    announcer.result(seen("door"))
    announcer.result(seen("gate"))
    home.announced.clear()
    announcer.forget("door")
    assert home.announced == [{"camera_gate": True, "camera_door": True}, {"camera_door": False, "camera_gate": True}]
    assert home.retained["lastlayer/porch/camera/door/state"] == {}
    assert home.said[-1] == ("lastlayer/porch/camera/door/state", {}), "when the entity is gone"
    home.connected = False
    announcer.settle()
    assert len(home.announced) == 2, "who is not there hears nothing"
    home.connected = True
    for _ in range(SETTLING):
        announcer.settle()
    assert home.announced[2:] == [{"camera_door": False, "camera_gate": True}, {"camera_gate": True}]
    announcer.result(seen("door", "dog"))
    assert home.announced[-1] == {"camera_gate": True, "camera_door": True}
    assert home.retained["lastlayer/porch/camera/door/state"]["state"] == "dog"


def test_a_home_assistant_that_was_away_is_told_what_was_forgotten_once_it_is_there(tmp_path: Path) -> None:
    announcer_on(Home(), tmp_path / "announced").forget("door")
    home = Home()
    restarted = announcer_on(home, tmp_path / "announced")
    restarted.discover()
    home.announced.clear()
    assert home.retained["lastlayer/porch/camera/door/state"] == {}, "the broker may not have heard it"
    restarted.meet_home_assistant()
    assert home.announced == [{"camera_door": True}, {"camera_door": False}]
    for _ in range(SETTLING):
        restarted.settle()
    restarted.meet_home_assistant()
    assert home.announced[-1] == {}
    assert Memory(tmp_path / "announced").announced.forgotten == ()


def test_home_assistant_knows_every_state_before_it_is_said() -> None:
    home = Home()
    announcer = announcer_on(home)
    announcer.result(seen("door"))
    announcer.head({"version": "1", "labels": ["cat", "dog"]})
    announcer.result(seen("door", "dog"))
    announcer.head({"version": "2", "labels": ["bird", "dog"]})
    announcer.result(seen("door", "cat"))  # asked of the head before
    announcer.result(seen("door", "bird"))
    options: list[str] | None = None
    for topic, payload in home.said:
        if topic == DOOR and options is not None:
            assert payload["state"] in options
        elif topic.endswith("/config") and "camera_door" in payload["components"]:
            options = payload["components"]["camera_door"].get("options")
    assert options == ["bird", "dog", "cat", "unknown"]
    announcer.head({"version": "3", "labels": ["bird", "dog"]})
    assert home.components["camera_door"]["options"] == ["bird", "dog", "unknown"]


def test_a_label_that_a_new_head_does_not_know_is_an_option_as_long_as_it_is_the_state() -> None:
    home = Home()
    announcer = announcer_on(home)
    announcer.head({"version": "1", "labels": ["cat", "dog"]})
    announcer.result(seen("door", "cat"))
    announcer.head({"version": "2", "labels": ["bird", "dog"]})
    assert home.components["camera_door"]["options"] == ["bird", "dog", "cat", "unknown"]


def test_a_head_with_the_labels_of_the_one_before_is_not_announced_again() -> None:
    home = Home()
    announcer = announcer_on(home)
    announcer.result(seen("door"))
    announcer.head({"version": "1", "labels": ["cat", "dog"]})
    known = len(home.announced)
    announcer.head({"version": "2", "labels": ["cat", "dog"]})
    announcer.result(seen("door", "dog"))
    assert len(home.announced) == known


def test_the_states_of_very_many_labels_are_not_listed() -> None:
    home = Home()
    announcer = announcer_on(home)
    announcer.result(seen("door"))
    announcer.head({"version": "1", "labels": [f"label {n}" for n in range(1000)]})
    assert "options" not in home.components["camera_door"]


def test_configured_views_are_announced_before_a_frame_comes() -> None:
    home = Home()
    announcer = announcer_on(home, questions=TASKS)
    announcer.discover()
    assert {"gate yard", "spaces left", "spaces right", "Head gate", "Head spaces", "Head feeder"} < home.named(
        "sensor"
    ).keys()
    assert "Head" not in home.named("sensor")
    assert {"Retrain gate", "Return feeder to the head before"} < home.named("button").keys()
    announcer.result(seen("kitchen", task="feeder", view="kitchen"))
    assert "feeder kitchen" in home.named("sensor")


def test_a_task_of_two_labels_of_which_one_means_on_has_a_sensor_that_is_on_or_off() -> None:
    home = Home()
    announcer = announcer_on(home, questions=TASKS)
    announcer.discover()
    assert "gate yard" not in home.named("binary_sensor"), "before there is a head"
    for task in TASKS:
        announcer.head({"version": "1", "labels": ["closed", "open"]}, task)
    assert "gate yard" in home.named("binary_sensor")
    assert not any(name.startswith("spaces") for name in home.named("binary_sensor"))
    announcer.head({"version": "2", "labels": ["ajar", "closed", "open"]}, "gate")
    assert "gate yard" not in home.named("binary_sensor")
    (key,) = (key for key in home.components if key.startswith("on_"))
    assert home.components[key] == {"platform": "binary_sensor"}
    announcer.head({"version": "3", "labels": ["closed", "shut"]}, "gate")
    assert "gate yard" not in home.named("binary_sensor"), "none of them means on"
    announcer.head({"version": "3", "labels": ["open", "unknown"]}, "gate")
    assert "gate yard" not in home.named("binary_sensor"), "what is not sure is not off"
    announcer.head({"version": "4", "labels": ["closed", "open"]}, "gate")
    assert "gate yard" in home.named("binary_sensor")


def test_a_sensor_that_is_on_or_off_outlasts_a_restart_whose_head_does_not_come(tmp_path: Path) -> None:
    before = announcer_on(Home(), tmp_path / "announced", TASKS)
    before.head({"version": "1", "labels": ["closed", "open"]}, "gate")
    before.discover()
    kept = (tmp_path / "announced").stat()
    home = Home()
    announcer = announcer_on(home, tmp_path / "announced", TASKS)
    for task in ("spaces", "feeder"):
        announcer.head({"version": "1", "labels": ["a", "b"]}, task)
    announcer.discover()
    assert "gate yard" in home.named("binary_sensor")
    assert (tmp_path / "announced").stat() == kept, "nothing is written where nothing is new"
    announcer.head({"version": "2", "labels": ["closed", "open"]}, "gate")
    assert '"open"' in home.named("binary_sensor")["gate yard"]["value_template"]
    announcer.head({"version": "3", "labels": ["shut", "open wide"]}, "gate")
    assert "gate yard" not in home.named("binary_sensor")


def test_what_is_configured_no_more_is_taken_back_at_the_next_start(tmp_path: Path) -> None:
    before = announcer_on(Home(), tmp_path / "announced", TASKS)
    before.head({"version": "1", "labels": ["closed", "open"]}, "gate")
    before.discover()
    before.result(of_gate("open"))
    before.result(seen("kitchen", task="feeder", view="kitchen"))
    home = Home()
    after = {"gate": replace(GATE, on=None), "spaces": replace(SPACES, views=("left",))}
    announcer = announcer_on(home, tmp_path / "announced", after)
    announcer.head({"version": "1", "labels": ["closed", "open"]}, "gate")
    announcer.discover()
    for topic in ("feeder/kitchen/state", "feeder/head", "spaces/right/state"):
        assert home.retained[f"lastlayer/porch/task/{topic}"] == {}
    assert YARD not in home.retained, "what it was is not known, and holds"
    assert home.named("sensor").keys() > {"gate yard", "spaces left", "Head gate"}
    gone = sorted(key for key, said in home.components.items() if len(said) == 1)
    assert gone == sorted(
        [
            *("head_feeder", "button_retrain_feeder", "button_rollback_feeder"),
            *(Entity("state", *view).key for view in (("feeder", "kitchen"), ("spaces", "right"))),
            Entity("on", "gate", "yard").key,
        ]
    )
    home.announced.clear()
    announcer.meet_home_assistant()
    whole, removed = [said for topic, said in home.said if topic.endswith("/config")][-2:]
    assert all(len(whole["components"][key]) > 1 for key in gone), "it removes only what was announced to it"
    assert all(len(removed["components"][key]) == 1 for key in gone)
    for _ in range(SETTLING):
        announcer.settle()
    assert not set(gone) & home.components.keys()
    again = Home()
    announcer_on(again, tmp_path / "announced", after).discover()
    assert not set(gone) & again.components.keys()


def test_a_board_that_is_given_tasks_has_its_cameras_no_more_and_the_other_way_round(tmp_path: Path) -> None:
    announcer_on(Home(), tmp_path / "announced").result(seen("door"))
    home = Home()
    announcer_on(home, tmp_path / "announced", TASKS).discover()
    gone = {key for key, said in home.components.items() if len(said) == 1}
    assert gone == {"camera_door", "head", "button_retrain", "button_rollback"}
    assert home.retained[DOOR] == home.retained["lastlayer/porch/head"] == {}
    home = Home()
    announcer_on(home, tmp_path / "announced").discover()
    assert {"Head", "Retrain"} <= home.named("sensor").keys() | home.named("button").keys()
    assert "gate yard" not in home.named("sensor")
    assert home.retained[YARD] == {}


def test_a_view_that_is_forgotten_is_removed_with_all_that_shows_it() -> None:
    home = Home()
    announcer = announcer_on(home, questions=TASKS)
    announcer.head({"version": "1", "labels": ["closed", "open"]}, "gate")
    announcer.result(of_gate("open"))
    announcer.forget_view("gate", "yard")
    assert home.retained[YARD] == {}
    assert "gate yard" not in home.named("sensor").keys() | home.named("binary_sensor").keys()
    assert sum(len(said) == 1 for said in home.components.values()) == 2
    announcer.result(of_gate("closed"))
    assert home.retained[YARD]["state"] == "closed"
    assert "gate yard" in home.named("sensor").keys() & home.named("binary_sensor").keys()


def test_a_camera_that_is_forgotten_is_so_in_every_task_whose_views_are_called_by_cameras() -> None:
    home = Home()
    tasks = {**TASKS, "lamp": FEEDER}
    announcer = announcer_on(home, questions=tasks)
    for task in ("feeder", "lamp"):
        announcer.result(seen("yard", task=task, view="yard"))
    announcer.result(of_gate("open"))
    announcer.forget("yard")
    assert home.retained["lastlayer/porch/task/feeder/yard/state"] == {}
    assert home.retained["lastlayer/porch/task/lamp/yard/state"] == {}
    assert home.retained[YARD]["state"] == "open"
    assert {name for name in home.named("sensor") if name.endswith("yard")} == {"gate yard"}


def test_what_is_announced_is_remembered_without_home_assistant_too(tmp_path: Path) -> None:
    announcer = Announcer(Home(), questions=TASKS, memory=Memory(tmp_path / "announced"))  # type: ignore[arg-type]
    announcer.discover()
    assert Entity("state", "gate", "yard") in Memory(tmp_path / "announced").announced.entities
