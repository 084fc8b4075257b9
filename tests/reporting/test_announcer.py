import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.records import Prediction, Result
from agent.reporting.announced import Memory
from agent.reporting.announcer import Announcer
from agent.reporting.discovery import Entity
from agent.reporting.entities import SETTLING
from agent.reporting.questions import Agreement, Question
from agent.reporting.timing import Timings
from agent.reporting.topics import Topics

PATIENCE_S = 30.0


def test_heads_and_retrainings_are_told_to_every_outlet_without_a_broker() -> None:
    said: list[tuple[str, Mapping[str, Any]]] = []
    announcer = Announcer(None, [lambda event, payload: said.append((event, payload))] * 2)
    announcer.head({"version": "3"})
    announcer.retrain({"state": "running"})
    assert said == [("head", {"version": "3"})] * 2 + [("retrain", {"state": "running"})] * 2


class SlowTopics(Topics):
    """Lets something happen while it is asked for the topic of a phase."""

    meanwhile: threading.Thread | None = None

    def timing(self, phase: str) -> str:
        if self.meanwhile is not None and self.meanwhile.ident is None:
            self.meanwhile.start()
            self.meanwhile.join(0.3)  # it waits for us, or, where nothing holds it, is through by then
        return super().timing(phase)


class Network:
    """In the place of a broker: remembers what is published."""

    def __init__(self) -> None:
        self.topics = SlowTopics("porch")
        self.discovered: list[set[str]] = []  # the phases that each discovery named

    def report(self, name: str, payload: Mapping[str, Any]) -> bool:
        return True

    def publish(self, topic: str, payload: Mapping[str, Any], **_: Any) -> bool:
        if topic.endswith("/config"):
            self.discovered.append({key for key in payload["components"] if key.startswith("phase_")})
        return True


def test_a_new_camera_is_told_of_while_a_new_phase_comes() -> None:
    network: Any = Network()
    announcer = Announcer(network, discovery_prefix="homeassistant")
    timings = Timings(node="porch", runtime="none")

    def tell(*phases: str) -> None:
        for phase in phases:
            timings.add(phase, 1.0)
        announcer.timings(timings.reports())

    tell("decode", "bottleneck")
    SlowTopics.meanwhile = meanwhile = threading.Thread(target=tell, args=("validation",))
    try:
        announcer.result(Result("0" * 16, "door", 1, None, (), True))
    finally:
        SlowTopics.meanwhile = None
        meanwhile.join(PATIENCE_S)
    both = {"phase_decode", "phase_bottleneck"}
    assert network.discovered == [both, both, {*both, "phase_validation"}]


class Home:
    """In the place of a broker: what it retains, and every announcement, as Home Assistant hears it."""

    connected = True

    def __init__(self) -> None:
        self.topics = Topics("porch")
        self.retained: dict[str, Mapping[str, Any]] = {}
        self.reported: list[tuple[str, Mapping[str, Any]]] = []
        self.said: list[tuple[str, Mapping[str, Any]]] = []
        self.announced: list[dict[str, bool]] = []  # cameras, and whether there is more of them than the platform

    def report(self, name: str, payload: Mapping[str, Any]) -> bool:
        self.reported.append((name, payload))
        return True

    def publish(self, topic: str, payload: Mapping[str, Any], **_: Any) -> bool:
        self.retained[topic] = payload
        self.said.append((topic, payload))
        if topic.endswith("/config"):
            components = payload["components"].items()
            self.announced.append({key: len(said) > 1 for key, said in components if key.startswith("camera_")})
        return True

    @property
    def components(self) -> dict[str, dict[str, Any]]:
        """What it was announced last."""
        return dict(self.retained["homeassistant/device/lastlayer_porch/config"]["components"])

    def named(self, platform: str) -> dict[str, dict[str, Any]]:
        """Of those the ones of a platform that are more than its name, by what a person calls them."""
        return {
            said["name"]: said for said in self.components.values() if said["platform"] == platform and len(said) > 1
        }


def announcer_on(home: Any, path: Path | None = None, questions: Mapping[str, Question] | None = None) -> Announcer:
    questions = questions or {"": Question(Agreement(1, 1))}
    return Announcer(home, questions=questions, discovery_prefix="homeassistant", memory=Memory(path))


def seen(
    camera: str, label: str = "cat", *, at: int = 1, task: str = "", view: str = "", skipped: bool = False
) -> Result:
    answer = (Prediction(label, 0.9),)
    return Result("0" * 16, camera, at, "1", answer, False, task=task, view=view, skipped=skipped)


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


DOOR = "lastlayer/porch/camera/door/state"
YARD = "lastlayer/porch/task/gate/yard/state"
GATE = Question(Agreement(1, 1), views=("yard",), any_camera=False, on="open")
SPACES = Question(Agreement(1, 1), views=("left", "right"), any_camera=False)
FEEDER = Question(Agreement(1, 1))
TASKS = {"gate": GATE, "spaces": SPACES, "feeder": FEEDER}


def of_gate(label: str, **said: Any) -> Result:
    return seen("yard", label, task="gate", view="yard", **said)


def test_a_state_says_all_that_is_known_of_it() -> None:
    home = Home()
    announcer = announcer_on(home)
    announcer.result(seen("door", at=17))
    said = dict(home.retained[DOOR])
    assert said.pop("ts") > 0
    assert said == {
        "camera": "door",
        "state": "cat",
        "probability": 0.9,
        "since_ms": 17,
        "last_known": "cat",
        "agree": 1,
        "of": 1,
        "frame_id": "0" * 16,
        "seq": 1,
    }


def test_with_tasks_states_and_heads_are_said_below_them_and_name_them() -> None:
    home = Home()
    told: list[tuple[str, Mapping[str, Any]]] = []
    announcer = Announcer(home, [lambda *said: told.append(said)], questions=TASKS)  # type: ignore[arg-type]
    announcer.head({"version": "3", "labels": ["open", "closed"]}, "gate")
    announcer.retrain({"state": "running"}, "gate")
    announcer.result(of_gate("open"))
    state, head = home.retained[YARD], home.retained["lastlayer/porch/task/gate/head"]
    assert (state["task"], state["view"], state["state"], state["agree"]) == ("gate", "yard", "open", 1)
    assert "camera" not in state
    assert (head["task"], head["version"], head["seq"]) == ("gate", "3", 1)
    assert [(event, said["task"]) for event, said in told] == [("head", "gate"), ("retrain", "gate")]
    reported = {name: said for name, said in home.reported}
    assert reported["retrain"]["task"] == reported["result"]["task"] == "gate"
    assert reported["result"]["view"] == "yard"


def test_a_skipped_frame_counts_for_the_state_and_is_no_result() -> None:
    home = Home()
    announcer = announcer_on(home, questions={"": Question(Agreement(2, 2))})
    announcer.result(seen("door"))
    announcer.result(seen("door", at=2, skipped=True))
    assert [name for name, _ in home.reported] == ["result"]
    assert (home.retained[DOOR]["state"], home.retained[DOOR]["since_ms"]) == ("cat", 2)


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
    announcer.head({"version": "4", "labels": ["closed", "open"]}, "gate")
    assert "gate yard" in home.named("binary_sensor")


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


def test_a_state_outlasts_an_orderly_restart_with_the_time_since_when_it_is(tmp_path: Path) -> None:
    before = announcer_on(Home(), tmp_path / "announced", TASKS)
    before.discover()
    before.result(of_gate("open", at=17))
    before.close()
    home = Home()
    announcer = announcer_on(home, tmp_path / "announced", TASKS)
    announcer.discover()
    assert (home.retained[YARD]["state"], home.retained[YARD]["since_ms"]) == ("open", 17)
    announcer.result(of_gate("open", at=20))
    assert home.retained[YARD]["since_ms"] == 17
    announcer.result(of_gate("closed", at=23))
    assert home.retained[YARD]["since_ms"] == 23
    killed = Home()
    announcer_on(killed, tmp_path / "announced", TASKS).discover()
    assert YARD not in killed.retained, "what it was when the process was killed is not known"


def test_states_are_written_when_the_process_ends_and_not_when_they_change(tmp_path: Path) -> None:
    path = tmp_path / "announced"
    announcer = announcer_on(Home(), path, TASKS)
    announcer.discover()
    announcer.result(of_gate("open"))
    path.unlink()
    for label in ("closed", "open"):
        announcer.result(of_gate(label))
    assert not path.exists()
    announcer.close()
    assert len(Memory(path).announced.states) == 1
