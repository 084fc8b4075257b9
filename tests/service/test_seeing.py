import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.errors import BusyError
from agent.service.seeing import Inbox

PATIENCE_S = 20.0


def test_a_full_inbox_refuses_and_counts() -> None:
    inbox = Inbox(2)
    with inbox.room("http", 0), inbox.room("http", 0):
        for _ in range(3):
            with pytest.raises(BusyError, match="2 frames are under way"), inbox.room("http", 0):
                pass
    assert inbox.dropped == {"http": 3}
    with inbox.room("http", 0):
        assert inbox.dropped == {"http": 3}


def test_who_waits_gets_the_room_that_becomes_free() -> None:
    inbox, waiting = Inbox(1), threading.Event()

    def wait() -> str:
        waiting.set()
        with inbox.room("http", PATIENCE_S):
            return "got it"

    with ThreadPoolExecutor() as pool:
        with inbox.room("http", 0):
            answer = pool.submit(wait)
            assert waiting.wait(PATIENCE_S)
        assert answer.result(PATIENCE_S) == "got it"


def test_a_frame_that_fails_gives_its_room_back() -> None:
    inbox = Inbox(1)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError), inbox.room("http", 0):
            raise ZeroDivisionError
    assert inbox.dropped == {}


def test_what_each_source_lost_is_counted_apart() -> None:
    inbox = Inbox(1)
    inbox.drop("mqtt")
    with inbox.room("folder", None):
        for _ in range(2):
            with pytest.raises(BusyError), inbox.room("http", 0):
                pass
    assert inbox.dropped == {"mqtt": 1, "http": 2}
