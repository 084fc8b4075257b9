from collections.abc import Iterable
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.records import Prediction, Result
from agent.reporting.debounce import MAX_CAMERAS, State, States
from agent.reporting.questions import Agreement, Question
from agent.reporting.topics import ViewName

DOOR = ViewName("", "door")


def states_of(
    everywhere: Agreement, particular: dict[str, Agreement] | None = None, known: Iterable[str] = ()
) -> States:
    """Those of a board without tasks."""
    return States({"": Question(everywhere, particular or {})}, {ViewName("", camera): None for camera in known})


def seen(label: str | None, camera: str = "door", probability: float = 0.9, at: int = 1, task: str = "") -> Result:
    predictions = (Prediction(label, probability),) if label else ()
    said = {"task": task, "view": camera} if task else {}
    return Result(f"{at:016x}", camera, at, "3" if label else None, predictions, label is None, **said)  # type: ignore[arg-type]


def changes(states: States, labels: Iterable[str | None]) -> list[str]:
    return [said.state for label in labels if (said := states.see(seen(label))) is not None]


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
    assert changes(states_of(Agreement(3, 5)), labels) == expected


def test_without_a_head_a_camera_is_unknown_and_becomes_so_again() -> None:
    states = states_of(Agreement(2, 3))
    assert changes(states, [None, None, "a", "a", None, None]) == ["unknown", "a", "unknown"]


def test_one_of_one_follows_every_frame() -> None:
    assert changes(states_of(Agreement(1, 1)), "abab") == ["a", "b", "a", "b"]


def test_cameras_do_not_mix_and_may_have_rules_of_their_own() -> None:
    states = states_of(Agreement(3, 5), {"gate": Agreement(1, 1)})
    assert states.see(seen("a", "gate")) == State("a", 0.9, 1, "a", f"{1:016x}")
    said = [states.see(seen("a", "door")) for _ in range(3)]
    assert [each and each.state for each in said] == ["unknown", None, "a"]
    assert states.views == (ViewName("", "gate"), DOOR)


def test_a_state_says_how_probable_it_was_and_since_when() -> None:
    states = states_of(Agreement(2, 3))
    for at, (label, probability) in enumerate([("a", 0.5), ("b", 0.8), ("b", 0.6), ("b", 0.1)], 1):
        states.see(seen(label, probability=probability, at=at))
    state = states.of(DOOR)
    assert state is not None
    assert state.probability == pytest.approx(0.7), "the mean of those that agreed when it changed"
    assert (state.state, state.since_ms, state.last_known, state.frame_id) == ("b", 3, "b", f"{3:016x}")


def test_while_a_state_is_unknown_the_last_known_one_is_said() -> None:
    states = states_of(Agreement(2, 2))
    said = [states.see(seen(label, at=at)) for at, label in enumerate(["a", "a", None, None, "b", "b"], 1)]
    assert [(each.state, each.last_known, each.since_ms) for each in said if each] == [
        ("unknown", None, 1),
        ("a", "a", 2),
        ("unknown", "a", 4),
        ("b", "b", 6),
    ]
    assert said[3] is not None and said[3].probability is None


def test_a_frame_that_is_not_sure_enough_counts_as_unknown() -> None:
    states = states_of(Agreement(2, 3, min_probability=0.6))
    surely = [0.9, 0.6, 0.59, 0.5, 0.9, 0.61]
    said = [states.see(seen("a", probability=probability)) for probability in surely]
    assert [each.state for each in said if each] == ["unknown", "a", "unknown", "a"]


def test_a_frame_that_was_skipped_counts_as_what_was_said_before_it() -> None:
    states = states_of(Agreement(3, 3))
    one = seen("a")
    repeated = Result(one.frame_id, one.camera, 2, one.head, one.predictions, unknown=False, skipped=True)
    assert [state and state.state for state in map(states.see, (one, repeated, repeated))] == ["unknown", None, "a"]


def test_views_of_tasks_do_not_mix_and_each_task_may_have_a_rule() -> None:
    gate = Question(Agreement(1, 1), views=("yard",), any_camera=False)
    spaces = Question(Agreement(2, 2), {"left": Agreement(1, 1)}, ("left", "right"), any_camera=False)
    states = States({"gate": gate, "spaces": spaces}, {})
    assert states.views == (ViewName("gate", "yard"), ViewName("spaces", "left"), ViewName("spaces", "right"))
    open_, full, free = (
        seen("open", "yard", task="gate"),
        *(seen("full", name, task="spaces") for name in ("left", "right")),
    )
    assert [state and state.state for state in map(states.see, (open_, full, free))] == ["open", "full", "unknown"]
    assert states.see(seen("open", "yard")) is None, "without tasks there is no such question"
    assert states.see(seen("open", "yard", task="feeder")) is None
    assert states.known.keys() == set(states.views)


def test_a_frame_without_a_camera_has_no_state() -> None:
    states = states_of(Agreement(1, 1))
    assert states.see(seen("a", "")) is None
    assert states.views == ()


def test_the_number_of_cameras_is_bounded_for_each_task_and_what_is_configured_has_room() -> None:
    named = tuple(f"view {n}" for n in range(100))
    one = Agreement(1, 1)
    asked = {"gate": Question(one, views=named, any_camera=False), "door": Question(one), "feeder": Question(one)}
    states = States(asked, {})
    for n in range(1000):
        states.see(seen("a", f"camera {n}", task="door"))
    assert len(states.known) == len(states._frames) == MAX_CAMERAS
    for name in named:
        assert states.see(seen("b", name, task="gate")) is not None
    assert states.see(seen("b", "camera 0", task="door")) is not None
    assert states.see(seen("b", "camera 999", task="door")) is None
    assert states.see(seen("b", "camera 999", task="feeder")) is not None


def test_what_was_said_of_a_camera_before_a_restart_holds_until_its_frames_agree() -> None:
    states = states_of(Agreement(3, 5), known=("door",))
    assert states.views == (DOOR,)
    assert changes(states, "ab") == []
    assert changes(states, "bb") == ["b"]


def test_where_it_is_known_what_was_said_before_a_restart_that_stays_as_it_was() -> None:
    before = State("a", 0.75, 17, "a", "f" * 16)
    states = States({"": Question(Agreement(2, 2))}, {DOOR: before})
    assert changes(states, "aaa") == []
    assert states.known == {DOOR: before}
    assert changes(states, [None, None]) == ["unknown"]
    state = states.of(DOOR)
    assert state is not None and state.last_known == "a"


def test_what_is_asked_no_more_has_no_state_any_longer() -> None:
    known = dict.fromkeys([ViewName("gate", "yard"), ViewName("gate", "door"), ViewName("feeder", "yard"), DOOR])
    states = States({"gate": Question(views=("yard",), any_camera=False)}, known)
    assert states.views == (ViewName("gate", "yard"),)


def test_a_camera_that_was_forgotten_is_new_when_it_comes_again() -> None:
    states = states_of(Agreement(1, 1), known=("door", "gate"))
    assert changes(states, "a") == ["a"]
    states.forget(DOOR)
    states.forget(ViewName("", "never seen"))
    assert states.views == (ViewName("", "gate"),)
    assert changes(states, "a") == ["a"]


def test_cameras_beyond_the_bound_are_told_of_once_and_find_room_when_one_is_forgotten(
    caplog: pytest.LogCaptureFixture,
) -> None:
    states = states_of(Agreement(1, 1), known=[f"camera {n}" for n in range(MAX_CAMERAS)])
    for n in range(200, 300):
        assert states.see(seen("a", f"camera {n}")) is None
    (line,) = caplog.messages
    assert "'camera 200'" in line and "forget" in line
    states.forget(ViewName("", "camera 7"))
    assert states.see(seen("a", "camera 200")) is not None


def test_a_state_comes_back_from_what_it_says() -> None:
    for state in (State("a", 0.75, 17, "a", "f" * 16), State("unknown", None, 17, None, "f" * 16)):
        assert State.from_dict(state.as_dict()) == state


@given(st.dictionaries(st.sampled_from(list(State.__slots__)), st.none() | st.integers() | st.floats() | st.text()))
def test_what_is_no_state_is_refused(said: dict[str, object]) -> None:
    try:
        state = State.from_dict(said)
    except ValueError:
        return
    assert asdict(state) == {name: said.get(name) for name in State.__slots__}
    assert isinstance(state.state, str) and type(state.since_ms) is int
