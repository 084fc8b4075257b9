"""What a broker takes: as it says when it lets us in (MQTT 5), and as it turns out where it says nothing.

Who sends more than that is thrown out, and on the next connection again, for the same message. So what a broker does
not take is not sent, and all else is.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

MAX_PACKET_BYTES = 268_435_455  # of any packet, but for its header; paho says and hears no larger limit
IN_FLIGHT = 20  # messages on their way that are not acknowledged; as many as paho sends unasked
TIMES = 3  # that a connection breaks over the same packet before it is taken for too large
LEAST_BYTES = 1024  # of a packet that is taken for too large: breaks may have other reasons
FORGET_S = 3600.0  # as they may have had then


class TooLargeError(ValueError):
    """A message that the broker does not take for its size."""

    def __init__(self, size: int, most: int) -> None:
        """Both are of the whole packet, in bytes."""
        super().__init__(f"a packet of {size} bytes, where the broker takes {most} at most")
        self.size, self.most = size, most


@dataclass(frozen=True, slots=True)
class Limits:
    packet_bytes: int = MAX_PACKET_BYTES  # of a whole packet: header, topic, properties and payload
    in_flight: int = IN_FLIGHT
    qos: int = 1  # acknowledged: what was lost can be counted
    retain: bool = True
    wildcards: bool = True

    @classmethod
    def said(cls, properties: object, most_bytes: int) -> "Limits":
        """By the answer to the login: what that leaves out the broker can do. In MQTT 3.1.1 it says nothing."""

        def value(name: str, unsaid: int) -> int:
            return int(getattr(properties, name, unsaid))

        return cls(
            packet_bytes=min(most_bytes, value("MaximumPacketSize", MAX_PACKET_BYTES)),
            in_flight=max(1, min(IN_FLIGHT, value("ReceiveMaximum", IN_FLIGHT))),
            qos=min(1, value("MaximumQoS", 1)),
            retain=bool(value("RetainAvailable", 1)),
            wildcards=bool(value("WildcardSubscriptionAvailable", 1)),
        )

    def without(self, refusal: str) -> "Limits | None":
        """What is left where the broker refuses a login for what its last will asks; None if not for that."""
        if refusal == "Retain not supported" and self.retain:
            return replace(self, retain=False)
        if refusal == "QoS not supported" and self.qos:
            return replace(self, qos=0)
        return None

    @property
    def missing(self) -> tuple[str, ...]:
        """What a person should know of a broker that cannot do all that MQTT has."""
        keeps = () if self.retain else ("keeps no message: who comes later does not hear what was said before",)
        acknowledges = () if self.qos else ("acknowledges nothing: what is lost on the way is not counted",)
        return (*keeps, *acknowledges)


class Breaks:
    """What connections that broke show of a broker which says nothing of sizes. For one thread.

    Some close the connection on a packet that is too large. What was not acknowledged comes again, and would break
    each connection, with all that waits behind it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._most = MAX_PACKET_BYTES
        self._shown = 0.0  # when
        self._suspect = 0
        self._times = 0

    @property
    def most(self) -> int:
        """The bytes of a packet that may be sent, as far as is known."""
        return self._most if self._clock() - self._shown < FORGET_S else MAX_PACKET_BYTES

    def note(self, acknowledged: int, unacknowledged: int, *, said_so: bool) -> bool:
        """Whether the end of a connection has shown a packet to be too large; `most` is less than it then.

        The sizes are of the largest packets on it that were acknowledged, and that were not, in bytes; 0 for none.
        `said_so`: the broker gave the size as its reason.
        """
        suspect = unacknowledged if unacknowledged > acknowledged else 0
        self._times = self._times + 1 if suspect == self._suspect else 1
        self._suspect = suspect
        if not (said_so or (self._times >= TIMES and suspect >= LEAST_BYTES)) or not suspect:
            return False
        self._most, self._shown = suspect - 1, self._clock()
        return True


def publish_bytes(topic: str, payload: int, properties: int, qos: int) -> int:
    """The size of a PUBLISH packet. `properties`: of them, with the length that stands before them; 0 in 3.1.1."""
    return _packet_bytes(2 + len(topic.encode()) + (2 if qos else 0) + properties + payload)


def subscribe_bytes(name: str) -> int:
    """The size of a SUBSCRIBE packet with one filter, in MQTT 5."""
    return _packet_bytes(2 + 1 + 2 + len(name.encode()) + 1)


def _packet_bytes(remaining: int) -> int:
    digits = 1
    while remaining >> 7 * digits:
        digits += 1
    return 1 + digits + remaining
