from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.cache import Cache
from agent.cache.layout import Layout
from agent.learning.pictures.bursts import BURST_MS, NEAR_BITS, Bursts, split_of_group
from agent.records import Example

HASH = st.integers(0, 2**64 - 1)


def far_apart(count: int) -> list[int]:
    return [int(number) for number in np.random.default_rng(0).integers(0, 2**63, count)]


def test_frames_of_one_camera_and_label_that_come_close_in_time_are_one_burst() -> None:
    bursts = Bursts()
    hashes = far_apart(6)
    groups = [bursts.join("door", "cup", number * BURST_MS, each) for number, each in enumerate(hashes)]
    assert groups == [hashes[0]] * 6  # each within the time of the one before


def test_a_pause_another_camera_or_another_label_begins_a_new_burst() -> None:
    bursts = Bursts()
    first, second, third, fourth = far_apart(4)
    assert bursts.join("door", "cup", 0, first) == first
    assert bursts.join("yard", "cup", 1, second) == second
    assert bursts.join("door", "plate", 1, third) == third
    assert bursts.join("door", "cup", BURST_MS + 1, fourth) == fourth


def test_pictures_that_look_the_same_belong_together_whenever_and_wherever_they_come() -> None:
    bursts = Bursts()
    (first,) = far_apart(1)
    bursts.join("door", "cup", 0, first)
    assert bursts.join("yard", "plate", 10 * BURST_MS, first ^ (2**NEAR_BITS - 1)) == first
    assert bursts.join("", "cup", 0, first ^ 1) == first
    assert bursts.join("", "cup", 0, first ^ (2 ** (NEAR_BITS + 1) - 1)) != first


def test_pictures_without_a_camera_are_no_burst_however_fast_they_come() -> None:
    bursts = Bursts()
    hashes = far_apart(50)
    assert [bursts.join("", "cup", 0, each) for each in hashes] == hashes


SEEN = st.tuples(st.sampled_from(["door", "yard", ""]), st.sampled_from(["cup", "plate"]), st.integers(0, 10**6), HASH)


@given(st.lists(SEEN, max_size=40), HASH)
def test_groups_do_not_move_when_examples_are_added(examples: list[tuple[str, str, int, int]], another: int) -> None:
    def groups(of: list[tuple[str, str, int, int]]) -> list[int]:
        bursts = Bursts()
        return [bursts.join(*example) for example in of]

    assert groups([*examples, ("door", "cup", 0, another)])[:-1] == groups(examples)


def test_an_even_picture_has_a_group_too() -> None:
    bursts = Bursts()
    assert bursts.join("", "cup", 0, 0) == bursts.join("", "cup", 0, 0) != 0


def test_groups_survive_in_the_cache(tmp_path: Path) -> None:
    layout = Layout.of("0" * 32, 4, "uint8", 1.0, 0)
    first, second, third = far_apart(3)

    def example(number: int, camera: str, group: int) -> Example:
        return Example(f"{number:016x}", "cup", np.zeros(4, np.uint8), number * 1000, camera, group=group)

    with Cache(tmp_path, layout) as cache:
        cache.append([example(0, "door", first), example(1, "yard", second), example(2, "door", first)])
    with Cache(tmp_path, layout) as cache:
        bursts = cache.bursts()
    assert bursts.join("door", "cup", 2000 + BURST_MS, third) == first
    assert bursts.join("", "cup", 0, second ^ 3) == second
    assert bursts.join("yard", "cup", 1001 + BURST_MS, third) == third


@given(HASH)
def test_a_group_falls_on_one_side(group: int) -> None:
    assert split_of_group(group) == split_of_group(group)


def test_groups_fall_on_the_sides_in_their_shares() -> None:
    sides = [split_of_group(group) for group in far_apart(5000)]
    assert 0.77 < sides.count("train") / 5000 < 0.83
    assert 0.08 < sides.count("val") / 5000 < 0.12
