import threading
from collections.abc import Callable

import numpy as np
import pytest

from agent.errors import BusyError, ImageError
from agent.ingress.inbox import Inbox
from agent.records import Frame, Result, Seen

PATIENCE_S = 20.0


def frame(number: int) -> Frame:
    return Frame(f"{number:016x}", 0, b"")


def seen(frame: Frame, top: int) -> Seen:
    return Seen(frame, Result(frame.frame_id, "", 0, None, (), True), np.zeros(top))


def inbox(classify: Callable[[Frame, int], Seen], capacity: int) -> Inbox:
    inbox = Inbox(classify, capacity=capacity)
    inbox.start()
    return inbox


def test_frames_are_answered_in_order() -> None:
    order = []

    def classify(frame: Frame, top: int) -> Seen:
        order.append(frame.frame_id)
        return seen(frame, top)

    box = inbox(classify, 16)
    answers = [box.submit(frame(number), number, wait_s=0) for number in range(10)]
    assert [len(answer.result(PATIENCE_S).bottleneck) for answer in answers] == list(range(10))
    assert order == [frame(number).frame_id for number in range(10)]
    box.stop(PATIENCE_S)


def test_an_error_goes_to_who_sent_the_frame_and_ends_nothing() -> None:
    def classify(frame: Frame, top: int) -> Seen:
        if top == 0:
            raise ImageError("no picture")
        if top == 1:
            raise ZeroDivisionError
        return seen(frame, top)

    box = inbox(classify, 16)
    answers = [box.submit(frame(top), top, wait_s=0) for top in range(3)]
    with pytest.raises(ImageError):
        answers[0].result(PATIENCE_S)
    with pytest.raises(ZeroDivisionError):
        answers[1].result(PATIENCE_S)
    assert answers[2].result(PATIENCE_S).frame == frame(2)
    box.stop(PATIENCE_S)


def test_a_full_inbox_refuses_and_counts() -> None:
    entered, release = threading.Event(), threading.Event()

    def classify(frame: Frame, top: int) -> Seen:
        entered.set()
        assert release.wait(PATIENCE_S)
        return seen(frame, top)

    box = inbox(classify, 2)
    answers = [box.submit(frame(0), 1, wait_s=0)]
    assert entered.wait(PATIENCE_S)
    answers += [box.submit(frame(number), 1, wait_s=0) for number in (1, 2)]
    for _ in range(3):
        with pytest.raises(BusyError, match="2 frames are waiting"):
            box.submit(frame(9), 1, wait_s=0)
    assert box.dropped == 3
    release.set()
    assert [answer.result(PATIENCE_S).frame for answer in answers] == [frame(number) for number in range(3)]
    box.stop(PATIENCE_S)


def test_a_stop_answers_what_waits_and_refuses_what_comes() -> None:
    box = inbox(seen, 16)
    answers = [box.submit(frame(number), 1, wait_s=0) for number in range(10)]
    box.stop(PATIENCE_S)
    assert all(answer.done() for answer in answers)
    with pytest.raises(BusyError):
        box.submit(frame(0), 1, wait_s=0)


def test_a_stop_keeps_its_deadline_when_a_frame_hangs() -> None:
    entered, release = threading.Event(), threading.Event()

    def hang(frame: Frame, top: int) -> Seen:
        entered.set()
        release.wait(PATIENCE_S)
        return seen(frame, top)

    box = inbox(hang, 2)
    box.submit(frame(0), 1, wait_s=0)
    assert entered.wait(PATIENCE_S)
    waiting = [box.submit(frame(number), 1, wait_s=0) for number in (1, 2)]
    box.stop(0.2)
    for answer in waiting:
        with pytest.raises(BusyError, match="stopping"):
            answer.result(0)
    release.set()
