"""What is said to the broker over one connection after another: state, reports, and all else.

Retained messages are state: the latest of each topic is published again on every connect. Reports are numbered, and
kept in the outbox, where there is one, until the broker has them. All others are dropped, and counted, while there is
no broker or it is slower than they come. What the broker does not take for its size is dropped, counted, and told of
once for each kind of message.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.reporting.mqtt.capabilities import MAX_PACKET_BYTES, TooLargeError
from agent.reporting.mqtt.outbox import TOO_LARGE, Outbox, Receipt, numbered
from agent.reporting.mqtt.sequence import Sequence
from agent.reporting.mqtt.session import Session
from agent.reporting.topics import OFFLINE, ONLINE, Topics

log = logging.getLogger(__name__)


class Sending:
    """For one thread at a time."""

    def __init__(self, topics: Topics, outbox: Outbox | None) -> None:
        self._topics = topics
        self._outbox = outbox
        self._sequence = Sequence()  # where there is no outbox
        self._session: Session | None = None  # while the broker lets us in, and we have not taken leave
        self._farewell: Receipt | None = None
        self._has_left = False
        self._retained: dict[str, bytes] = {}
        self._parts: dict[str, Mapping[str, bytes]] = {}  # of a retained topic: the same in smaller messages
        self._owed: dict[str, bytes] = {}  # what the connected broker does not have yet of what is retained
        self._unacknowledged: list[Receipt] = []  # neither retained nor in the outbox
        self._dropped = 0
        self._too_large = 0
        self._told: dict[str, int] = {}  # kind of message → the limit that was told of

    @property
    def too_large(self) -> int:
        """Messages, state included, that were not sent to a broker that does not take them for their size."""
        return self._too_large

    @property
    def dropped(self) -> int:
        """Messages that were not, or not provably, published; state counts only where the broker refuses it."""
        return self._dropped + (self._outbox.dropped if self._outbox else 0)

    @property
    def waiting(self) -> int:
        """Reports that are kept for the broker."""
        return self._outbox.waiting if self._outbox else 0

    def keep(self, topic: str, message: bytes, parts: Mapping[str, bytes] | None = None) -> None:
        """Publish state, now or as soon as the broker takes it; none at all deletes what is retained there.

        `parts` (topic → message) say the same, for a broker that does not take it as one; all are retained.
        """
        self._retained[topic] = message
        self._parts[topic] = parts or {}
        if self._session is not None:
            self._owed[topic] = message
        self._send_owed()

    def send_or_drop(self, topic: str, message: bytes, correlation: bytes | None = None) -> bool:
        """Whether it is on its way."""
        receipt = self._send(topic, message, correlation=correlation)
        if receipt is None or receipt is TOO_LARGE:
            self.drop()
            return False
        self._unacknowledged = [r for r in self._unacknowledged if not r.is_published()] + [receipt]
        return True

    def room(self, topic: str) -> int:
        """How many bytes the broker takes on a topic."""
        return self._session.room(topic) if self._session is not None else MAX_PACKET_BYTES

    def report(self, name: str, payload: Mapping[str, Any]) -> bool:
        """Whether it is on its way, or kept. Raises TypeError or ValueError for what is no JSON."""
        if self._outbox is not None:
            return self._outbox.put(name, payload, self._send_report if self._session is not None else None)
        report = numbered(name, payload, self._sequence)
        return self.send_or_drop(self._topics.below(name), report.payload)

    def drop(self, count: int = 1) -> None:
        """Count messages that cannot be published."""
        self._dropped += count

    def opened(self, session: Session) -> None:
        """The broker has let us in."""
        if not self._has_left:
            self._session = session
            self._send(self._topics.availability, ONLINE.encode(), retain=True)
            self._owed = dict(self._retained)
        self._send_owed()
        if self._outbox is not None:
            self._outbox.connected()

    def advance(self) -> None:
        """Send what is owed; to be called when acknowledgements may have come."""
        self._send_owed()
        if self._outbox is not None and self._session is not None:
            self._outbox.advance(self._send_report)

    def parted(self) -> None:
        """The connection has ended: what was not acknowledged is kept, or counted."""
        self._session = None
        self._owed.clear()
        self._dropped += sum(not receipt.is_published() for receipt in self._unacknowledged)
        self._unacknowledged.clear()
        if self._outbox is not None:
            self._outbox.disconnected()

    def take_leave(self) -> Receipt | None:
        """Say OFFLINE, the last word. Its receipt; None where nobody hears it. Idempotent."""
        if not self._has_left:
            self._farewell = self._send(self._topics.availability, OFFLINE.encode(), retain=True)
        self._has_left = True
        self._session = None
        return self._farewell

    def unsynced(self) -> list[Path]:
        """The files that are due to be synced, by the caller, who may take the time."""
        return self._outbox.unsynced() if self._outbox is not None else []

    def close(self) -> None:
        """Reports that were not acknowledged are on flash when this returns, if there is an outbox."""
        if self._outbox is not None:
            self._outbox.close()

    def _send(
        self, topic: str, message: bytes, *, retain: bool = False, correlation: bytes | None = None
    ) -> Receipt | None:
        """None if it cannot be sent now."""
        if self._session is None:
            return None
        try:
            return self._session.publish(topic, message, retain=retain, correlation=correlation)
        except TooLargeError as error:
            self._too_large += 1
            self._tell_too_large(topic, error)
            return TOO_LARGE

    def _send_report(self, name: str, message: bytes) -> Receipt | None:
        return self._send(self._topics.below(name), message)

    def _send_owed(self) -> None:
        for topic in list(self._owed):
            message = self._owed[topic]
            receipt = self._send(topic, message, retain=True)
            if receipt is None:
                return  # the queue is full, or nobody is there: `advance` comes back to it
            del self._owed[topic]
            if self._retained.get(topic) == b"":
                del self._retained[topic], self._parts[topic]
            if receipt is TOO_LARGE and message and (parts := self._parts.get(topic)):
                # The whole, which the broker may have kept when it took more, would say the same twice.
                self._owed |= {topic: b"", **parts}
                self._send_owed()
                return

    def _tell_too_large(self, topic: str, error: TooLargeError) -> None:
        below = self._topics.below("")
        kind = topic.removeprefix(below).partition("/")[0] if topic.startswith(below) else ""
        if self._told.get(kind) != error.most:
            self._told[kind] = error.most
            log.warning(
                "%s takes a packet of %d bytes, and the MQTT broker allows %d (max_packet_size in mosquitto): %s; "
                "mqtt.too_large counts such messages",
                topic,
                error.size,
                error.most,
                "it is said in parts" if self._parts.get(topic) else "it is dropped",
            )
