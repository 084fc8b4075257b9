"""How the next connection to the broker begins: as it wanted the last one, and as broken connections have taught."""

import time
from collections.abc import Callable
from dataclasses import replace

from agent.reporting.mqtt.capabilities import MAX_PACKET_BYTES, Capabilities
from agent.reporting.mqtt.session import UNSUPPORTED_VERSION, Session

TIMES = 3  # that a connection breaks over the same packet before it is taken for too large
LEAST_BYTES = 1024  # of a packet that is taken for too large: breaks may have other reasons
FORGET_S = 3600.0  # as they may have had then


class Negotiation:
    """For the thread that makes one connection after another."""

    def __init__(self) -> None:
        self.v5 = True  # until a broker does not speak it
        self._capabilities = Capabilities()  # of the broker that was there last
        self._breaks = Breaks()

    @property
    def capabilities(self) -> Capabilities:
        """What is known of the broker before it says so."""
        return replace(self._capabilities, packet_bytes=self._breaks.most)

    def lower(self, session: Session) -> bool:
        """Whether a login failed for something that can be left out: it is, from now on."""
        if self.v5 and (session.refused_for == UNSUPPORTED_VERSION or session.is_misread):
            self.v5 = False
            return True
        less = self._capabilities.without(session.refused_for)
        self._capabilities = less or self._capabilities
        return less is not None

    def learn(self, session: Session) -> int | None:
        """From a connection that has ended; the size of the packet that it broke over, if it was too large."""
        if not session.opened:
            return None
        self.v5 = True  # the broker may be another one, or a newer one, the next time
        self._capabilities = session.capabilities
        return self._breaks.most + 1 if self._breaks.note(*session.largest(), said_so=session.is_end_for_size) else None


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
