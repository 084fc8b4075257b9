"""The names of MQTT topics and the shape of what is said under them.

Everything is below lastlayer/<node>/. Payloads are JSON objects that stand alone: the
time of the message is in ts (unix ms), its number in seq.
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from agent.records import Result

ONLINE = "online"
OFFLINE = "offline"

_NO_LEVEL = re.compile(r"[%/+#\0]")  # what may not stand in one level of a topic, and what escapes it


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one node; the node is a valid topic level, as config makes sure of."""

    node: str

    @property
    def availability(self) -> str:
        """Retained: ONLINE or OFFLINE, the latter also as last will."""
        return self.below("availability")

    @property
    def result(self) -> str:
        return self.below("result")

    @property
    def head(self) -> str:
        """Retained: the head in service."""
        return self.below("head")

    @property
    def retrain(self) -> str:
        """The progress of retraining."""
        return self.below("retrain")

    @property
    def host(self) -> str:
        """What the board feels: heat, memory, the processor's load."""
        return self.below("host")

    @property
    def counters(self) -> str:
        """What the daemon counted since its start."""
        return self.below("counters")

    @property
    def answer(self) -> str:
        """What became of a command that was not told where to send its answer."""
        return self.below("answer")

    @property
    def label(self) -> str:
        """In: what a frame shows."""
        return self.below("label")

    def timing(self, phase: str) -> str:
        return self.below(f"timing/{phase}")

    def camera_state(self, camera: str) -> str:
        """Retained: what a camera has been seeing for some frames."""
        return self.below(f"camera/{as_level(camera)}/state")

    def exchange(self, what: str, key: str, task: str | None = None) -> str:
        """In: a desktop asks for examples, or sends a head or a backbone; see ingress/mqtt/exchanging.py."""
        return self.below("/".join(["exchange", what, key, *([] if task is None else [task])]))

    def exchanged(self, key: str) -> str:
        """The answer to that."""
        return self.below(f"exchanged/{key}")

    def command(self, name: str) -> str:
        """In: something to do; `+` as name stands for all of them."""
        return self.below(f"command/{name}")

    def frame(self, below: str = "") -> str:
        """In: pictures; `#` as below stands for those of all cameras."""
        return self.below(f"frame/{below}" if below else "frame")

    def below(self, name: str) -> str:
        return f"lastlayer/{self.node}/{name}"


def is_topic(text: str) -> bool:
    """Whether something can be published there."""
    return bool(text) and not set(text) & set("+#\0") and len(text.encode(errors="replace")) <= 65_535


def as_level(text: str) -> str:
    """A text as one level of a topic: / + # and % are written as %2F %2B %23 and %25."""
    return _NO_LEVEL.sub(lambda match: f"%{ord(match[0]):02X}", text)


def from_level(level: str) -> str:
    """The inverse of as_level; it takes any other percent-encoding too."""
    return unquote(level)


def result_payload(result: Result) -> dict[str, Any]:
    """A result as over HTTP, with the best prediction flat beside it, for dashboards that know no lists.

    label and probability are null where nothing was predicted.
    """
    best = result.predictions[0] if result.predictions else None
    return {
        **result.as_dict(),
        "label": best.label if best else None,
        "probability": best.probability if best else None,
        "ts": result.received_ms,
    }
