"""The names of MQTT topics and the shape of what is said under them.

Everything is below lastlayer/<node>/. Payloads are JSON objects that stand alone: the
time of the message is in ts (unix ms), its number in seq.
"""

from dataclasses import dataclass
from typing import Any

from agent.records import Result

ONLINE = "online"
OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one node; the node is a valid topic level, as config makes sure of."""

    node: str

    @property
    def availability(self) -> str:
        """Retained: ONLINE or OFFLINE, the latter also as last will."""
        return self._below("availability")

    @property
    def result(self) -> str:
        return self._below("result")

    @property
    def head(self) -> str:
        """Retained: the head in service."""
        return self._below("head")

    @property
    def retrain(self) -> str:
        """The progress of retraining."""
        return self._below("retrain")

    def timing(self, phase: str) -> str:
        return self._below(f"timing/{phase}")

    def _below(self, name: str) -> str:
        return f"lastlayer/{self.node}/{name}"


def result_payload(result: Result, seq: int) -> dict[str, Any]:
    """A result as over HTTP, with the best prediction flat beside it, for dashboards that know no lists.

    label and probability are null where nothing was predicted.
    """
    best = result.predictions[0] if result.predictions else None
    return {
        **result.as_dict(),
        "label": best.label if best else None,
        "probability": best.probability if best else None,
        "ts": result.received_ms,
        "seq": seq,
    }
