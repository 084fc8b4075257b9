import math
import time

from agent.ingress.folder.files import Version
from agent.ingress.folder.settling import Settling

FIRST, SECOND = Version(0, 0, 0, 1), Version(0, 0, 0, 2)


def test_what_waits_is_due_once_and_another_version_begins_anew() -> None:
    settling: Settling[str] = Settling(3600.0, 10)
    assert (len(settling), settling.due) == (0, math.inf)
    settling.wait("a", FIRST)
    due = settling.due
    settling.wait("b", FIRST)
    settling.wait("a", FIRST)
    assert settling.due == due  # it goes on waiting
    settling.wait("a", SECOND)
    assert settling.due > due  # that of b
    assert (settling.waits("a", FIRST), settling.waits("a", SECOND), settling.waits("c", FIRST)) == (False, True, False)
    assert list(settling.pop_due()) == []
    settling.forget("b")
    assert len(settling) == 1


def test_no_more_wait_than_there_is_room_for() -> None:
    settling: Settling[int] = Settling(0.0, 3)
    for number in range(5):
        settling.wait(number, FIRST)
    settling.wait(0, SECOND)  # its room is its own
    assert settling.due <= time.monotonic()
    assert list(settling.pop_due()) == [(1, FIRST), (2, FIRST), (0, SECOND)]
    assert list(settling.pop_due()) == []
