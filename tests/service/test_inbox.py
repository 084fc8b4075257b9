import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from agent.errors import BusyError, ImageError
from agent.service.inbox import Inbox

PATIENCE_S = 20.0
ROOMY = 1 << 30


def test_a_full_inbox_refuses_and_counts() -> None:
    inbox = Inbox(2, ROOMY)
    with inbox.room("http", 0, 1), inbox.room("http", 0, 1):
        for _ in range(3):
            with pytest.raises(BusyError, match="2 frames are under way"), inbox.room("http", 0, 1):
                pass
    assert inbox.dropped == {"http": 3}
    with inbox.room("http", 0, 1):
        assert inbox.dropped == {"http": 3}


@pytest.mark.parametrize(
    ("capacity", "decoding_bytes", "size", "wait_s"),
    [(1, ROOMY, 1, PATIENCE_S), (100, 1600, 1000, None)],
    ids=["among few frames", "among large pictures"],
)
def test_who_waits_gets_the_room_that_becomes_free(
    capacity: int, decoding_bytes: int, size: int, wait_s: float | None
) -> None:
    inbox, waiting = Inbox(capacity, decoding_bytes), threading.Event()

    def wait() -> str:
        waiting.set()
        with inbox.room("folder", wait_s, size):
            return "got it"

    with ThreadPoolExecutor() as pool:
        with inbox.room("http", 0, size):
            answer = pool.submit(wait)
            assert waiting.wait(PATIENCE_S)
        assert answer.result(PATIENCE_S) == "got it"


def test_a_frame_that_fails_gives_its_room_back() -> None:
    inbox = Inbox(1, ROOMY)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError), inbox.room("http", 0, 1):
            raise ZeroDivisionError
    assert inbox.dropped == {}


def test_what_each_source_lost_is_counted_apart() -> None:
    inbox = Inbox(1, ROOMY)
    inbox.drop("mqtt")
    with inbox.room("folder", None, 1):
        for _ in range(2):
            with pytest.raises(BusyError), inbox.room("http", 0, 1):
                pass
    assert inbox.dropped == {"mqtt": 1, "http": 2}


def test_large_pictures_are_decoded_one_at_a_time() -> None:
    inbox = Inbox(100, 1600)
    told = "1 frames are under way already, whose pictures take 101 bytes"
    with inbox.room("http", 0, 101), pytest.raises(BusyError, match=told), inbox.room("http", 0, 101):
        pass
    with inbox.room("http", 0, 1200):
        pass


def test_small_pictures_have_room_of_their_own_and_no_more() -> None:
    inbox = Inbox(100, 1600)
    with ExitStack() as under_way:
        for size in (1200, 100, 100, 100, 100):
            under_way.enter_context(inbox.room("http", 0, size))
        with pytest.raises(BusyError), inbox.room("http", 0, 1):
            pass
    with inbox.room("http", 0, 1):
        pass


def test_a_picture_that_never_finds_room_is_refused_for_good() -> None:
    inbox = Inbox(100, 1600)
    with pytest.raises(ImageError, match="1201 bytes of memory .* the limit is 1200"), inbox.room("http", None, 1201):
        pass
    assert inbox.dropped == {}
