from collections.abc import Mapping
from typing import Any

from agent.reporting.retained import Retained


class Kept:
    """In the place of a broker: what it retains."""

    def __init__(self) -> None:
        self.topics: dict[str, Mapping[str, Any]] = {}

    def publish(self, topic: str, payload: Mapping[str, Any], *, retain: bool) -> bool:
        assert retain
        self.topics[topic] = payload
        return True


def test_what_is_said_is_numbered_for_each_topic_and_begins_anew_where_it_was_cleared() -> None:
    broker: Any = Kept()
    retained = Retained(broker)
    for topic in ("a", "b", "a"):
        retained.say(topic, {"state": "open"})
    assert {topic: said["seq"] for topic, said in broker.topics.items()} == {"a": 2, "b": 1}
    assert broker.topics["a"]["state"] == "open" and broker.topics["a"]["ts"] > 0
    retained.clear("a")
    assert broker.topics["a"] == {}
    retained.say("a", {})
    assert broker.topics["a"]["seq"] == 1
