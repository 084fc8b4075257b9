import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.records import Prediction, Result
from agent.reporting.announced import Memory
from agent.reporting.announcer import SETTLING, Announcer
from agent.reporting.debounce import Agreement, CameraStates
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
        self.announced: list[dict[str, bool]] = []  # cameras, and whether there is more of them than the platform

    def report(self, name: str, payload: Mapping[str, Any]) -> bool:
        return True

    def publish(self, topic: str, payload: Mapping[str, Any], **_: Any) -> bool:
        self.retained[topic] = payload
        if topic.endswith("/config"):
            components = payload["components"].items()
            self.announced.append({key: len(said) > 1 for key, said in components if key.startswith("camera_")})
        return True


def announcer_on(home: Any, path: Path) -> Announcer:
    memory = Memory(path)
    cameras = CameraStates(Agreement(1, 1), known=memory.announced.cameras)
    return Announcer(home, cameras=cameras, discovery_prefix="homeassistant", memory=memory)


def seen(camera: str, label: str = "cat") -> Result:
    return Result("0" * 16, camera, 1, "1", (Prediction(label, 0.9),), False)


def test_what_was_announced_is_announced_after_a_restart(tmp_path: Path) -> None:
    before, timings = announcer_on(Home(), tmp_path / "announced"), Timings(node="porch", runtime="none")
    before.result(seen("door"))
    timings.add("decode", 1.0)
    before.timings(timings.reports())
    home = Home()
    announcer_on(home, tmp_path / "announced").discover()
    components = home.retained["homeassistant/device/lastlayer_porch/config"]["components"]
    assert {"camera_door", "phase_decode"} <= components.keys()


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
    assert home.retained["lastlayer/porch/camera/door/state"] == {}, "the broker may not have heard it"
    restarted.meet_home_assistant()
    assert home.announced == [{"camera_door": True}, {"camera_door": False}]
    for _ in range(SETTLING):
        restarted.settle()
    restarted.meet_home_assistant()
    assert home.announced[-1] == {}
    assert Memory(tmp_path / "announced").announced.forgotten == ()
