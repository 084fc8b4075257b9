import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.learning.bursts import BURST_MS, NEAR_BITS, Bursts, split_of_group

HASH = st.integers(0, 2**64 - 1)


def joined(bursts: Bursts, camera: str | None, received_ms: int, fingerprint: int) -> int:
    group = bursts.group_of(camera, received_ms, fingerprint)
    bursts.add(camera, received_ms, group)
    return group


def far_apart(count: int) -> list[int]:
    return [int(number) for number in np.random.default_rng(0).integers(0, 2**63, count)]


def test_frames_of_one_camera_that_come_close_in_time_are_one_burst() -> None:
    bursts = Bursts()
    hashes = far_apart(6)
    groups = [joined(bursts, "door", number * BURST_MS, fingerprint) for number, fingerprint in enumerate(hashes)]
    assert groups == [hashes[0]] * 6  # each within the time of the one before


def test_a_pause_or_another_camera_begins_a_new_burst() -> None:
    bursts = Bursts()
    first, second, third = far_apart(3)
    assert joined(bursts, "door", 0, first) == first
    assert joined(bursts, "yard", 1, second) == second
    assert joined(bursts, "door", BURST_MS + 1, third) == third


def test_pictures_that_look_the_same_belong_together_whenever_and_wherever_they_come() -> None:
    bursts = Bursts()
    (first,) = far_apart(1)
    joined(bursts, "door", 0, first)
    assert joined(bursts, "yard", 10 * BURST_MS, first ^ (2**NEAR_BITS - 1)) == first
    assert joined(bursts, None, 0, first ^ 1) == first
    assert joined(bursts, None, 0, first ^ (2 ** (NEAR_BITS + 1) - 1)) != first


def test_pictures_that_no_camera_pushed_are_no_burst_however_fast_they_come() -> None:
    bursts = Bursts()
    hashes = far_apart(50)
    assert [joined(bursts, None, 0, fingerprint) for fingerprint in hashes] == hashes


@given(st.lists(st.tuples(st.sampled_from(["door", "yard", None]), st.integers(0, 10**6), HASH), max_size=40), HASH)
def test_groups_do_not_move_when_examples_are_added(examples: list[tuple[str | None, int, int]], another: int) -> None:
    def groups(of: list[tuple[str | None, int, int]]) -> list[int]:
        bursts = Bursts()
        return [joined(bursts, *example) for example in of]

    assert groups([*examples, ("door", 0, another)])[:-1] == groups(examples)


@given(HASH)
def test_a_group_falls_on_one_side(group: int) -> None:
    assert split_of_group(group) == split_of_group(group)


def test_groups_fall_on_the_sides_in_their_shares() -> None:
    sides = [split_of_group(group) for group in far_apart(5000)]
    assert 0.77 < sides.count("train") / 5000 < 0.83
    assert 0.08 < sides.count("val") / 5000 < 0.12
