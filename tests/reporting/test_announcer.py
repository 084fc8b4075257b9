import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.records import Result
from agent.reporting.announced import Memory
from agent.reporting.announcer import Announcer
from agent.reporting.questions import Agreement, Question
from agent.reporting.timing import Timings
from agent.reporting.topics import Topics
from tests.reporting.home import DOOR, TASKS, YARD, Home, announcer_on, of_gate, seen

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
