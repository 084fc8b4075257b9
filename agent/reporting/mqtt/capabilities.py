"""What a broker takes, as it says when it lets somebody in; and how large packets are.

Who sends more than that is thrown out, and on the next connection again, for the same message. So what a broker does
not take is not sent, and all else is.
"""

from dataclasses import dataclass, replace

MAX_PACKET_BYTES = 268_435_455  # of any packet, but for its header; paho says and hears no larger limit
IN_FLIGHT = 20  # messages on their way that are not acknowledged; as many as paho sends unasked


class TooLargeError(ValueError):
    """A message that the broker does not take for its size."""

    def __init__(self, size: int, most: int) -> None:
        """Both are of the whole packet, in bytes."""
        super().__init__(f"a packet of {size} bytes, where the broker takes {most} at most")
        self.size, self.most = size, most


@dataclass(frozen=True, slots=True)
class Capabilities:
    packet_bytes: int = MAX_PACKET_BYTES  # of a whole packet: header, topic, properties and payload
    in_flight: int = IN_FLIGHT
    qos: int = 1  # acknowledged: what was lost can be counted
    retain: bool = True
    wildcards: bool = True

    @classmethod
    def said(cls, properties: object, most_bytes: int) -> "Capabilities":
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

    def without(self, refusal: str) -> "Capabilities | None":
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
