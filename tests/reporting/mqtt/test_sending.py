"""What is said over one connection after another, to a connection that can be looked into."""

from typing import Any

import pytest

from agent.reporting.mqtt.sending import Sending
from agent.reporting.topics import Topics

ONLINE = ("lastlayer/porch/availability", b"online")
OFFLINE = ("lastlayer/porch/availability", b"offline")


class Receipt:
    acknowledged = False

    def is_published(self) -> bool:
        return self.acknowledged


class Connection:
    """In the place of a session: takes so many messages, and remembers them."""

    def __init__(self, room: int = 100) -> None:
        self.room = room
        self.taken: list[tuple[str, bytes]] = []
        self.receipts: list[Receipt] = []

    def publish(self, topic: str, payload: bytes, **_: Any) -> Receipt | None:
        if len(self.taken) >= self.room:
            return None
        self.taken.append((topic, payload))
        self.receipts.append(Receipt())
        return self.receipts[-1]


@pytest.fixture
def sending() -> Sending:
    return Sending(Topics("porch"), None)


def opened(sending: Sending, room: int = 100) -> Connection:
    connection: Any = Connection(room)
    sending.opened(connection)
    return connection  # type: ignore[no-any-return]


def test_state_is_said_on_every_connection_in_its_latest_form(sending: Sending) -> None:
    sending.keep("head", b"1")
    sending.keep("head", b"2")
    for _ in range(2):
        assert opened(sending).taken == [ONLINE, ("head", b"2")]
        sending.parted()
    assert sending.dropped == 0


def test_state_that_finds_no_room_is_said_later(sending: Sending) -> None:
    connection = opened(sending, room=1)
    sending.keep("head", b"1")
    assert connection.taken == [ONLINE]
    connection.room = 2
    sending.advance()
    assert connection.taken == [ONLINE, ("head", b"1")]


def test_all_else_is_dropped_and_counted_where_nobody_takes_it(sending: Sending) -> None:
    assert not sending.send_or_drop("result", b"{}")
    connection = opened(sending)
    assert sending.send_or_drop("result", b"{}")
    assert sending.report("host", {"cpu_percent": 1.0})
    connection.receipts[-1].acknowledged = True
    sending.parted()
    assert sending.dropped == 2, "the first, and the one that was never acknowledged"


def test_offline_is_the_last_word(sending: Sending) -> None:
    connection = opened(sending)
    farewell = sending.take_leave()
    assert farewell is connection.receipts[-1]
    assert sending.take_leave() is farewell
    assert not sending.send_or_drop("result", b"{}")
    assert connection.taken == [ONLINE, OFFLINE]
    sending.parted()
    assert opened(sending).taken == [], "a connection that came too late says nothing"


def test_who_leaves_where_nobody_is_has_no_receipt(sending: Sending) -> None:
    assert sending.take_leave() is None
