import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.learning.pictures.dhash import dhash, distances, thumbnail
from agent.vision.image import decode
from tests.conftest import encoded

HASHES = st.integers(0, 2**64 - 1)


@given(hashes=st.lists(HASHES, min_size=1, max_size=20), to=HASHES)
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
