import hashlib
from collections import Counter

from agent.learning.pictures.splits import split_of


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
