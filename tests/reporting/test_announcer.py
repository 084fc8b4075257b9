from collections.abc import Mapping
from typing import Any

from agent.reporting.announcer import Announcer


def test_heads_and_retrainings_are_told_to_every_outlet_without_a_broker() -> None:
    said: list[tuple[str, Mapping[str, Any]]] = []
    announcer = Announcer(None, [lambda event, payload: said.append((event, payload))] * 2)
    announcer.head({"version": "3"})
    announcer.retrain({"state": "running"})
    assert said == [("head", {"version": "3"})] * 2 + [("retrain", {"state": "running"})] * 2
