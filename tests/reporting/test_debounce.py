from collections.abc import Iterable

import pytest

from agent.records import Prediction, Result
from agent.reporting.debounce import MAX_CAMERAS, Agreement, CameraStates


def seen(label: str | None, camera: str = "door") -> Result:
    predictions = (Prediction(label, 0.9),) if label else ()
    return Result("00ff00ff00ff00ff", camera, 1, "3" if label else None, predictions, label is None)


def changes(states: CameraStates, labels: Iterable[str | None]) -> list[str]:
    return [state for label in labels if (state := states.see(seen(label))) is not None]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("aaaaa", ["unknown", "a"]),
        ("aaabaaabaa", ["unknown", "a"]),  # one odd frame switches nothing
        ("aaabbb", ["unknown", "a", "b"]),
        ("aaababab", ["unknown", "a", "b"]),  # three of the last five
        ("abcdefgh", ["unknown"]),
        ("", []),
    ],
)
def test_three_of_the_last_five_frames_change_a_state(labels: str, expected: list[str]) -> None:
    assert changes(CameraStates(Agreement(3, 5)), labels) == expected


def test_without_a_head_a_camera_is_unknown_and_becomes_so_again() -> None:
    states = CameraStates(Agreement(2, 3))
    assert changes(states, [None, None, "a", "a", None, None]) == ["unknown", "a", "unknown"]


def test_one_of_one_follows_every_frame() -> None:
    assert changes(CameraStates(Agreement(1, 1)), "abab") == ["a", "b", "a", "b"]


def test_cameras_do_not_mix_and_may_have_rules_of_their_own() -> None:
    states = CameraStates(Agreement(3, 5), {"gate": Agreement(1, 1)})
    assert states.see(seen("a", "gate")) == "a"
    assert [states.see(seen("a", "door")) for _ in range(3)] == ["unknown", None, "a"]
    assert states.cameras == ("gate", "door")


def test_a_frame_without_a_camera_has_no_state() -> None:
    states = CameraStates(Agreement(1, 1))
    assert states.see(seen("a", "")) is None
    assert states.cameras == ()


def test_the_number_of_cameras_is_bounded() -> None:
    states = CameraStates(Agreement(1, 1))
    for n in range(1000):
        states.see(seen("a", f"camera {n}"))
    assert len(states.cameras) == len(states._labels) == MAX_CAMERAS
    assert states.see(seen("b", "camera 0")) == "b"


def test_what_was_said_of_a_camera_before_a_restart_holds_until_its_frames_agree() -> None:
    states = CameraStates(Agreement(3, 5), known=("door",))
    assert states.cameras == ("door",)
    assert changes(states, "ab") == []
    assert changes(states, "bb") == ["b"]


def test_a_camera_that_was_forgotten_is_new_when_it_comes_again() -> None:
    states = CameraStates(Agreement(1, 1), known=("door", "gate"))
    assert changes(states, "a") == ["a"]
    states.forget("door")
    states.forget("never seen")
    assert states.cameras == ("gate",)
    assert changes(states, "a") == ["a"]


def test_cameras_beyond_the_bound_are_told_of_once_and_find_room_when_one_is_forgotten(
    caplog: pytest.LogCaptureFixture,
) -> None:
    states = CameraStates(Agreement(1, 1), known=[f"camera {n}" for n in range(MAX_CAMERAS)])
    for n in range(200, 300):
        assert states.see(seen("a", f"camera {n}")) is None
    (line,) = caplog.messages
    assert "'camera 200'" in line and "forget" in line
    states.forget("camera 7")
    assert states.see(seen("a", "camera 200")) == "a"
