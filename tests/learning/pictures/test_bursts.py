import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cache import Cache, Layout
from agent.learning.pictures.bursts import (
    BURST_MS,
    NEAR_BITS,
    Bursts,
    dhash,
    distances,
    split_of,
    split_of_group,
    thumbnail,
)
from agent.records import Example
from agent.vision.image import decode
from tests.conftest import encoded

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


def keys(count: int) -> list[bytes]:
    return [hashlib.sha256(str(number).encode()).digest() for number in range(count)]


def test_eight_of_ten_train_and_one_each_validates_and_tests() -> None:
    counts = Counter(map(split_of, keys(20_000)))
    assert abs(counts["train"] - 16_000) < 300  # about 5 standard deviations
    assert abs(counts["val"] - 2_000) < 220
    assert abs(counts["test"] - 2_000) < 220


def test_a_key_is_in_the_same_split_forever() -> None:
    # Written down once: another answer would move examples from validation into training.
    assert {split_of(key) for key in (b"", b"0", b"1", b"burst 17")} == {"train"}
    assert {split_of(key) for key in (b"29", b"36", b"39")} == {"val"}
    assert {split_of(key) for key in (b"6", b"24", b"45")} == {"test"}


@given(hashes=st.lists(HASH, min_size=1, max_size=20), to=HASH)
def test_distances_count_the_bits_that_differ(hashes: list[int], to: int) -> None:
    counted = distances(np.array(hashes, np.uint64), to)
    assert counted.tolist() == [bin(number ^ to).count("1") for number in hashes]


def test_the_bits_are_the_neighbours_that_are_brighter() -> None:
    rising = np.broadcast_to(np.repeat(np.arange(9, dtype=np.uint8) * 20, 10), (80, 90))
    assert dhash(rising) == 2**64 - 1
    assert dhash(rising[:, ::-1]) == 0
    half = rising.copy()
    half[40:] = half[40:, ::-1]
    assert dhash(half) == 2**32 - 1


@pytest.mark.parametrize("size", [(96, 96), (97, 101), (9, 9), (224, 160), (8, 8), (1, 1)])
def test_any_size_is_hashed(photographs: list[np.ndarray], size: tuple[int, int]) -> None:
    small = thumbnail(decode(encoded(photographs[0], "PNG"), *size))
    assert small.nbytes <= 48 * 48
    assert 0 <= dhash(small) < 2**64


def test_a_picture_stored_again_looks_the_same_and_another_does_not(photographs: list[np.ndarray]) -> None:
    def fingerprint(pixels: np.ndarray, quality: int) -> int:
        return dhash(thumbnail(decode(encoded(pixels, "JPEG", quality=quality), 96, 96)))

    china, flower = photographs
    first = np.array([fingerprint(china, 95)], np.uint64)
    assert distances(first, fingerprint(china, 40))[0] <= 4
    assert distances(first, fingerprint((china * 0.8).astype(np.uint8), 80))[0] <= 4
    assert distances(first, fingerprint(flower, 95))[0] > 10
