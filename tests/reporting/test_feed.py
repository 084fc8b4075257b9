import json
from typing import Any

import pytest

from agent.errors import BusyError
from agent.records import Result
from agent.reporting import feed as feed_module
from agent.reporting.feed import MAX_LISTENERS, MAX_QUEUED, Feed, Listener

STATUS = {"head": "1", "examples": 3, "frames": 7, "uptime_s": 1.0}


def heard(listener: Listener) -> tuple[str, dict[str, Any]]:
    """The next event and what it carries."""
    lines = dict(line.split(": ", 1) for line in next(listener).decode().splitlines() if line)
    return lines["event"], json.loads(lines["data"])


def test_who_listens_hears_the_status_first_and_then_what_happens() -> None:
    feed = Feed()
    feed.tell("head", {"version": "0"})
    listener = feed.listen(STATUS)
    feed.tell("head", {"version": "2", "labels": ["a\nb", "Küche"]})
    feed.result(Result("0" * 16, "door", 1, "2", (), True))
    assert heard(listener) == ("status", STATUS)
    assert heard(listener) == ("head", {"version": "2", "labels": ["a\nb", "Küche"]})
    assert heard(listener)[1]["camera"] == "door"


def test_a_status_is_told_when_more_has_changed_than_counts_of_frames() -> None:
    feed = Feed()
    first = feed.listen(STATUS)
    assert heard(first)[0] == "status"
    feed.tell_changes(lambda: {**STATUS, "frames": 8, "uptime_s": 2.0})
    changed = {**STATUS, "examples": 4}
    feed.tell_changes(lambda: changed)
    assert heard(first) == ("status", changed)
    second = feed.listen({**changed, "head": "2"})  # the first does not know of that head yet
    assert heard(first) == heard(second) == ("status", {**changed, "head": "2"})
    feed.tell("retrain", {})
    assert heard(first) == heard(second) == ("retrain", {})


def test_a_status_is_told_when_a_task_has_changed() -> None:
    def status(examples: int, frames: int) -> dict[str, Any]:
        tasks = {"gate": {"head": "1", "examples": examples, "skipped": frames}, "feeder": {"head": None}}
        return {"frames": frames, "tasks": tasks}

    feed = Feed()
    listener = feed.listen(status(3, 7))
    assert heard(listener) == ("status", status(3, 7))
    feed.tell_changes(lambda: status(3, 8))
    feed.tell_changes(lambda: status(4, 9))
    assert heard(listener) == ("status", status(4, 9))


def test_a_frame_that_was_skipped_is_no_event() -> None:
    feed = Feed()
    listener = feed.listen(STATUS)
    assert heard(listener)[0] == "status"
    feed.result(Result("0" * 16, "door", 1, "2", (), True, skipped=True))
    feed.result(Result("0" * 16, "door", 2, "2", (), True))
    assert heard(listener)[1]["received_ms"] == 2


def test_nobody_is_asked_for_a_status_where_nobody_listens() -> None:
    feed, asked = Feed(), []

    def status() -> dict[str, Any]:
        asked.append(True)
        return STATUS

    feed.tell_changes(status)
    listener = feed.listen(STATUS)
    feed.tell_changes(status)
    assert len(asked) == 1
    listener.close()
    feed.tell_changes(status)
    assert len(asked) == 1


def test_a_slow_listener_loses_the_oldest_and_is_told_how_many() -> None:
    feed = Feed()
    slow = feed.listen(STATUS)
    for number in range(MAX_QUEUED + 5):
        feed.tell("retrain", {"step": number})
    assert heard(slow) == ("dropped", {"dropped": 6})
    assert [heard(slow)[1]["step"] for _ in range(MAX_QUEUED)] == list(range(5, MAX_QUEUED + 5))


def test_so_many_may_listen_and_who_leaves_makes_room() -> None:
    feed = Feed()
    listeners = [feed.listen(STATUS) for _ in range(MAX_LISTENERS)]
    with pytest.raises(BusyError, match=f"{MAX_LISTENERS} listen to events already"):
        feed.listen(STATUS)
    listeners[0].close()
    feed.listen(STATUS)


def test_where_nothing_happens_a_comment_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "HEARTBEAT_S", 0.01)
    listener = Feed().listen(STATUS)
    assert heard(listener)[0] == "status"
    assert next(listener) == b":\n\n"


def test_a_close_ends_all_and_lets_nobody_in() -> None:
    feed = Feed()
    listener = feed.listen(STATUS)
    feed.close()
    assert list(listener) == []
    with pytest.raises(BusyError):
        feed.listen(STATUS)
    feed.close()
