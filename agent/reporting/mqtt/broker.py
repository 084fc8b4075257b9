"""The MQTT broker, as it is used: connected to in the background for as long as the service runs.

Its thread drives one connection after another itself instead of leaving that to paho: so it can wait for the next
attempt and be woken out of it, knows why a connection failed, and outlives whatever a strange broker makes paho raise.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from agent.board.secret import warn_of_open
from agent.config import MqttConfig
from agent.reporting.mqtt.endpoint import Endpoint, secrets
from agent.reporting.mqtt.negotiation import Negotiation
from agent.reporting.mqtt.outbox import Outbox, Receipt, as_json, sync
from agent.reporting.mqtt.sending import Sending
from agent.reporting.mqtt.session import Message, Session
from agent.reporting.topics import Topics, is_topic

logger = logging.getLogger(__name__)

FIRST_DELAY_S = 0.25  # before the second attempt; doubles up to the longest
LONGEST_DELAY_S = 30.0
LOGIN_S = 5.0  # for the answer to a login
MAX_MESSAGE_BYTES = 1 << 20  # that are taken from others, if the broker speaks MQTT 5


class Broker:
    """Publishes as one node, from any thread, without ever waiting for the network. sending.py says what is kept."""

    def __init__(
        self, mqtt: MqttConfig, outbox: Outbox | None = None, *, max_message_bytes: int = MAX_MESSAGE_BYTES
    ) -> None:
        """Raises ConfigError if no broker is configured, or the files for its login and TLS cannot be used."""
        self.topics = Topics(mqtt.node)
        self._endpoint = Endpoint.of(mqtt)
        warn_of_open(secrets(mqtt))
        if self._endpoint.password is not None and self._endpoint.doubt:
            logger.warning("%s; it is shown to the broker as it is", self._endpoint.doubt)
        self._max_message_bytes = max_message_bytes
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._stopping = threading.Event()
        # Taken before paho's locks, never within them; on_connect holds none that publishing needs.
        self._state = threading.Condition()
        self._sending = Sending(self.topics, outbox)
        self._session: Session | None = None
        self._connected = False
        self._negotiation = Negotiation()
        self._told: set[str] = set()  # what was said of brokers
        self._filters: tuple[str, ...] = ()
        self._listener: Callable[[Message], None] = lambda message: None
        self._farewell: Receipt | None = None
        self._last_error: str | None = None

    @property
    def connected(self) -> bool:
        return self._connected

    @property
    def last_error(self) -> str | None:
        """Why there is no connection; None while there is one, and before the first attempt."""
        return self._last_error

    @property
    def dropped(self) -> int:
        """Messages that were not, or not provably, published; state counts only where the broker refuses it."""
        with self._state:
            return self._sending.dropped

    @property
    def too_large(self) -> int:
        """Messages, state included, that were not sent to a broker that does not take them for their size."""
        with self._state:
            return self._sending.too_large

    @property
    def waiting(self) -> int:
        """Reports that are kept for the broker."""
        with self._state:
            return self._sending.waiting

    def hear(self, filters: Iterable[str], listener: Callable[[Message], None]) -> None:
        """Subscribe to what others publish; to be called before the start, by one listener.

        It is called in the broker's thread: it must neither block nor raise.
        """
        self._filters = tuple(filters)
        self._listener = listener

    def start(self) -> None:
        """Connects in the background, and again whenever the connection is lost."""
        self._thread.start()

    def wait_connected(self, timeout: float) -> bool:
        """Whether there is a connection, at the latest after so many seconds."""
        with self._state:
            return self._state.wait_for(lambda: self._connected, timeout)

    def publish(
        self,
        topic: str,
        payload: Mapping[str, Any],
        *,
        retain: bool = False,
        correlation: bytes | None = None,
        parts: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> bool:
        """Sends a JSON object; True if it is on its way, or kept until there is a connection.

        An empty one, retained, deletes what the broker keeps on the topic.
        `correlation` is the correlation data of MQTT 5; in 3.1.1 it is left out. `parts` (topic → object) say the same
        as what is retained, to a broker that takes it for too large.
        """
        try:
            message = as_json(payload) if payload or not retain else b""
            smaller = {at: as_json(part) if part else b"" for at, part in (parts or {}).items()}
            if not is_topic(topic):
                raise ValueError("this is no topic")
        except (TypeError, ValueError) as error:
            return self._refuse(topic, error)
        with self._state:
            if retain:
                self._sending.keep(topic, message, smaller)
                return True
            return self._sending.send_or_drop(topic, message, correlation)

    def send(self, topic: str, payload: bytes) -> bool:
        """Sends bytes as they are; True if they are on their way."""
        with self._state:
            return self._sending.send_or_drop(topic, payload)

    def room(self, topic: str) -> int:
        """How many bytes the broker that is there takes on a topic."""
        with self._state:
            return self._sending.room(topic)

    def report(self, name: str, payload: Mapping[str, Any]) -> bool:
        """Sends a JSON object on a topic below the node, with its number as `seq`.

        True if it is on its way, or kept until there is a connection. Numbers count from 1 for each topic.
        """
        try:
            with self._state:
                return self._sending.report(name, payload)
        except (TypeError, ValueError) as error:
            return self._refuse(name, error)

    def stop(self, timeout: float) -> None:
        """Says OFFLINE and disconnects; returns within timeout seconds even if the broker is dead.

        Reports that were not acknowledged are on flash then, if there is an outbox.
        """
        deadline = time.monotonic() + timeout
        with self._state:
            self._farewell = self._sending.take_leave()
            self._stopping.set()
        if self._thread.is_alive():
            if self._farewell is not None:
                self._thread.join(0.8 * timeout)
            with self._state:
                session = self._session
            if session is not None:
                session.hang_up()  # without a disconnect the broker publishes the last will, which says the same
            self._thread.join(max(0.0, deadline - time.monotonic()))
            if self._thread.is_alive():
                logger.warning("gave up on the MQTT broker %s while connecting", self._endpoint.host)
        with self._state:
            self._sending.close()

    def _refuse(self, topic: str, error: Exception) -> bool:
        logger.error("cannot publish on %s: %s", topic, error)
        with self._state:
            self._sending.drop()
        return False

    def _run(self) -> None:
        delay = FIRST_DELAY_S
        while not self._stopping.is_set():
            began = time.monotonic()
            session = self._new_session()
            try:
                end = self._converse(session)
                if session.is_unanswered:
                    # Some say nothing to a version that they do not know.
                    self._negotiation.v5 = not self._negotiation.v5
            except OSError as error:
                end = f"cannot be reached: {error.strerror or error}"
            except Exception as error:  # what paho raises at answers that are not MQTT
                logger.debug("the MQTT broker confuses us", exc_info=True)
                end = f"does not speak MQTT: {type(error).__name__}: {error}"
            if self._negotiation.lower(session):
                self._part(session, None)
                continue
            learnt = self._learn(session)
            self._part(session, end)
            # One that accepts and hangs up at once, as when two boards have one name, is not courted every moment.
            if learnt or time.monotonic() - began > LONGEST_DELAY_S:
                delay = FIRST_DELAY_S
            self._sync()
            self._stopping.wait(delay)
            delay = min(2 * delay, LONGEST_DELAY_S)

    def _learn(self, session: Session) -> bool:
        """Whether the connection broke over a packet that is sent no more."""
        with self._state:
            too_large = None if self._stopping.is_set() else self._negotiation.learn(session)
        if too_large is not None:
            logger.warning(
                "the MQTT broker %s breaks the connection over a packet of %d bytes: none that large is sent any more",
                self._endpoint,
                too_large,
            )
        return too_large is not None

    def _new_session(self) -> Session:
        session = Session(
            self._endpoint,
            self._filters,
            self._on_open,
            self._listener,
            v5=self._negotiation.v5,
            max_message_bytes=self._max_message_bytes,
            capabilities=self._negotiation.capabilities,
        )
        with self._state:
            self._session = session
        return session

    def _converse(self, session: Session) -> str:
        """Connects and stays until the connection ends; says why it did. Raises OSError if there is none to be had."""
        session.connect()
        deadline = time.monotonic() + LOGIN_S
        while session.turn():
            if session.is_unanswered and time.monotonic() > deadline:
                return "does not answer"
            with self._state:  # `stop` sets both at once: without its farewell the last report would be left behind
                self._sending.advance()
                stopping, farewell = self._stopping.is_set(), self._farewell
            self._heed(session)
            self._sync()
            if stopping:
                if farewell is None:
                    break
                if farewell.is_published():
                    session.disconnect()
        return session.end

    def _on_open(self) -> None:
        logger.info("connected to the MQTT broker %s as %s", self._endpoint, self.topics.node)
        with self._state:
            self._connected = True
            self._last_error = None
            session = self._session
            if session is not None:
                self._sending.opened(session)
            self._state.notify_all()
        for missing in session.capabilities.missing if session is not None else ():
            self._warn_once(missing)

    def _part(self, session: Session, end: str | None) -> None:
        """Leaves a connection that has ended; logs why, unless that was wanted or is known."""
        error = None if end is None else f"the MQTT broker {self._endpoint} {end}"
        with self._state:
            known = error is None or error == self._last_error or self._stopping.is_set()
            self._session = None
            self._connected = False
            self._last_error = None if self._stopping.is_set() else error or self._last_error
            self._sending.parted()
        session.close()
        self._heed(session)
        if not known:
            logger.warning("%s; trying again", error)

    def _heed(self, session: Session) -> None:
        """What the broker refused of what we asked of it."""
        for reason, count in session.take_refused().items():
            with self._state:
                self._sending.drop(count)
            self._warn_once(f"refuses messages: {reason}; mqtt.dropped counts them")
        for name in sorted(session.deaf_to):
            self._warn_once(f"does not let us hear {name}")

    def _warn_once(self, said: str) -> None:
        if said not in self._told:
            self._told.add(said)
            logger.warning("the MQTT broker %s %s", self._endpoint, said)

    def _sync(self) -> None:
        with self._state:
            paths = self._sending.unsynced()
        sync(paths)  # which may take its time, and nobody waits for it
