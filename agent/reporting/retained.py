"""What the broker keeps for those who come later, numbered."""

import threading
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agent.reporting.topics import now_ms

if TYPE_CHECKING:
    from agent.reporting.mqtt.broker import Broker


class Retained:
    """Thread-safe. `seq` counts from 1 for each topic."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._seq: Counter[str] = Counter()
        self._lock = threading.Lock()

    def say(self, topic: str, payload: Mapping[str, Any]) -> None:
        with self._lock:  # so that the later number is the one that stays
            self._seq[topic] += 1
            self._broker.publish(topic, {**payload, "ts": now_ms(), "seq": self._seq[topic]}, retain=True)

    def clear(self, topic: str) -> None:
        """Whoever comes later hears nothing there."""
        with self._lock:
            self._seq.pop(topic, None)
            self._broker.publish(topic, {}, retain=True)
