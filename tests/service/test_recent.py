from dataclasses import replace

import numpy as np

from agent.records import Frame, Result, Seen
from agent.region import UNCUT, Cut
from agent.service.recent import RecentFrames

LEFT, RIGHT = Cut((0.0, 0.0, 0.5, 1.0)), Cut((0.5, 0.0, 0.5, 1.0))


def seen(payload: bytes, camera: str = "", task: str = "", cut: Cut = UNCUT) -> Seen:
    frame = Frame.pushed(payload, camera)
    result = Result(frame.frame_id, camera, frame.received_ms, None, (), True, task=task)
    return Seen(result, np.zeros(4, np.uint8), 0, cut)


def test_the_same_bytes_are_the_same_frame_and_it_is_remembered_as_it_came_last() -> None:
    recent = RecentFrames(2)
    first, other = seen(b"one", "door"), seen(b"two", "door")
    for each in (first, other, seen(b"one", "yard")):
        recent.remember([each])
    assert [[(result.frame_id, result.camera) for result in frame] for frame in recent.results()] == [
        [(first.result.frame_id, "yard")],
        [(other.result.frame_id, "door")],
    ]
    recent.remember([seen(b"three", "door")])
    assert recent.get(other.result.frame_id, "", Cut()) is None, "the one that is older goes"


def test_what_each_task_saw_of_a_frame_is_remembered_also_where_one_alone_is_asked_again() -> None:
    recent = RecentFrames(1)
    views = [seen(b"one", "yard", "gate"), seen(b"one", "yard", "spaces", LEFT), seen(b"one", "yard", "spaces", RIGHT)]
    recent.remember(views)
    again = replace(views[0], finite=False)
    recent.remember([again])
    frame_id = again.result.frame_id
    assert len(recent.results()[0]) == 3
    assert recent.get(frame_id, "gate", Cut()) is again
    assert recent.get(frame_id, "spaces", RIGHT) is views[2]
    assert recent.get(frame_id, "gate", LEFT) is None
    assert len(recent.results()) == 1
    assert recent.forget(frame_id)
    assert not recent.forget(frame_id)
    assert recent.results() == []
