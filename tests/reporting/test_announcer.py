import threading
from collections.abc import Mapping
from typing import Any

from agent.records import Result
from agent.reporting.announcer import Announcer
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
