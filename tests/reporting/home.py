"""In the place of a broker, a home that hears what a board announces; and what its views see."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.records import Prediction, Result
from agent.reporting.announced import Memory
from agent.reporting.announcer import Announcer
from agent.reporting.questions import Agreement, Question
from agent.reporting.topics import Topics

DOOR = "lastlayer/porch/camera/door/state"
YARD = "lastlayer/porch/task/gate/yard/state"
GATE = Question(Agreement(1, 1), views=("yard",), any_camera=False, on="open")
SPACES = Question(Agreement(1, 1), views=("left", "right"), any_camera=False)
FEEDER = Question(Agreement(1, 1))
TASKS = {"gate": GATE, "spaces": SPACES, "feeder": FEEDER}


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


def of_gate(label: str, **said: Any) -> Result:
    return seen("yard", label, task="gate", view="yard", **said)
