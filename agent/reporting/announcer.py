"""What the board says of itself, to whoever listens: results, heads, retrainings, timings."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from agent.records import Result
from agent.reporting.broker import Broker
from agent.reporting.timing import TimingReport
from agent.reporting.topics import result_payload

Outlet = Callable[[str, Mapping[str, Any]], None]  # ("head", what is said of it); must neither block nor raise


class Announcer:
    """Publishes through a broker, where one is configured. Never blocks, never raises. Thread-safe.

    `seq` counts from 1 for each topic, so that a listener sees what it missed. Heads and retrainings are told
    to each of `outlets` as well.
    """

    def __init__(self, broker: Broker | None, outlets: Sequence[Outlet] = ()) -> None:
        self._broker = broker
        self._outlets = outlets
        self._seq: Counter[str] = Counter()
        self._lock = threading.Lock()

    def result(self, result: Result) -> None:
        if self._broker is not None:
            topic = self._broker.topics.result
            self._broker.publish(topic, result_payload(result, self._next(topic)))

    def head(self, report: Mapping[str, Any]) -> None:
        """The head in service; retained."""
        self._tell("head", report)
        if self._broker is not None:
            self._publish(self._broker.topics.head, report, retain=True)

    def retrain(self, report: Mapping[str, Any]) -> None:
        self._tell("retrain", report)
        if self._broker is not None:
            self._publish(self._broker.topics.retrain, report)

    def timings(self, reports: Iterable[TimingReport]) -> None:
        if self._broker is not None:
            for report in reports:
                self._broker.publish(self._broker.topics.timing(report.phase), report.as_dict())

    def status(self) -> dict[str, Any] | None:
        """How the connection to the broker is; None where none is configured."""
        if self._broker is None:
            return None
        return {
            "connected": self._broker.connected,
            "dropped": self._broker.dropped,
            "last_error": self._broker.last_error,
        }

    def _tell(self, event: str, payload: Mapping[str, Any]) -> None:
        for outlet in self._outlets:
            outlet(event, payload)

    def _publish(self, topic: str, payload: Mapping[str, Any], *, retain: bool = False) -> None:
        assert self._broker is not None
        stamped = {**payload, "ts": int(time.time() * 1000), "seq": self._next(topic)}
        self._broker.publish(topic, stamped, retain=retain)

    def _next(self, topic: str) -> int:
        with self._lock:
            self._seq[topic] += 1
            return self._seq[topic]
