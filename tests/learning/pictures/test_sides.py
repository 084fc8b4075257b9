"""Which examples train, which judge, and which do neither, by what they look like."""

from typing import NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.learning.pictures.bursts import NEAR_BITS, Bursts, distances, near, telling
from agent.learning.pictures.sides import set_aside, sides
from agent.learning.training.examples import HELD_BACK, TRAIN
from agent.records import SPLITS, Split

VAL, TEST = SPLITS.index("val"), SPLITS.index("test")
LOOK = int(np.random.default_rng(1).integers(1 << 62, 1 << 63))  # a hash with zeros and ones
LIKE = LOOK ^ (2**NEAR_BITS - 1)
UNLIKE = LOOK ^ (2 ** (NEAR_BITS + 1) - 1)
NONE = np.zeros(0, np.uint64)


class Picture(NamedTuple):
    look: int
    said: Split | None = None
    by_hash: Split = "train"


def found(*pictures: Picture) -> list[int]:
    """The sides of pictures that came in this order."""
    bursts = Bursts()
    groups = [bursts.join("", "any", 0, picture.look, picture.said) for picture in pictures]
    splits = [SPLITS.index(picture.said or picture.by_hash) for picture in pictures]
    said = [picture.said is not None for picture in pictures]
    return list(map(int, sides(np.array(groups, np.uint64), np.array(splits, np.uint8), np.array(said))))


def test_what_looks_like_a_picture_of_val_or_test_is_held_back_whatever_was_said_of_it_and_whenever_it_came() -> None:
    for aside, side in (("val", VAL), ("test", TEST)):
        first = Picture(LOOK, aside)  # type: ignore[arg-type]
        for other in (Picture(LIKE), Picture(LIKE, "train"), Picture(LIKE, by_hash="val"), Picture(LOOK, "train")):
            assert found(first, other) == [side, HELD_BACK]
            assert found(other, first) == [HELD_BACK, side]


def test_what_somebody_put_into_val_or_test_stays_there() -> None:
    assert found(Picture(LOOK, "val"), Picture(LIKE, "val"), Picture(LIKE, "test")) == [VAL, VAL, TEST]


def test_what_looks_otherwise_is_left_alone() -> None:
    assert found(Picture(LOOK, "val"), Picture(UNLIKE), Picture(UNLIKE, "train")) == [VAL, TRAIN, TRAIN]


def test_what_looks_like_a_member_and_not_like_the_first_of_its_group_is_held_back_too() -> None:
    member = LOOK ^ 0b1111
    near_to_member = LOOK ^ 0b11111111
    assert found(Picture(LOOK, "val"), Picture(member, "val"), Picture(near_to_member)) == [VAL, VAL, HELD_BACK]


def test_a_train_group_that_is_nearer_does_not_take_it() -> None:
    trained, put_aside, seen = LOOK, LOOK ^ 0b11111, LOOK ^ 0b1
    assert found(Picture(put_aside, "val"), Picture(trained), Picture(seen)) == [VAL, TRAIN, HELD_BACK]


def test_a_hash_gives_way_to_what_somebody_put_into_train() -> None:
    for pair in (
        (Picture(LOOK, "train"), Picture(LIKE, by_hash="val")),
        (Picture(LIKE, by_hash="test"), Picture(LOOK, "train")),
    ):
        assert found(*pair) == [TRAIN, TRAIN]


def test_even_pictures_look_like_nothing() -> None:
    """Else one lens cap in val, or a set of plain colours, would hold back all that is dark or plain."""
    for even in (0, 0b1111, 2**64 - 1):
        assert found(Picture(even, "val"), Picture(even), Picture(even, "train")) == [VAL, TRAIN, TRAIN]
    assert not telling(np.array([0, 1, 0x7F, 2**64 - 1], np.uint64)).any()
    assert telling(np.array([0xFF, LOOK], np.uint64)).all()


def test_a_frame_that_looks_like_a_picture_of_val_does_not_take_the_rest_of_its_burst_with_it() -> None:
    first, other = UNLIKE, ~LOOK & (2**64 - 1)
    bursts = Bursts(aside=np.array([LOOK], np.uint64))
    assert bursts.join("door", "cup", 1000, first) == first
    assert bursts.join("door", "cup", 2000, LIKE) == LOOK
    assert bursts.join("door", "cup", 3000, other) == first
    again = Bursts(np.array([LOOK, first], np.uint64), {("door", "cup"): (2000, LOOK)}, np.array([LOOK], np.uint64))
    assert again.join("door", "cup", 3000, other) == other, "also where the daemon began anew in between"
    assert bursts.is_set_aside(LIKE)
    assert not bursts.is_set_aside(UNLIKE)


HASHES = st.lists(
    st.builds(lambda base, bits: base ^ sum({1 << bit for bit in bits}), st.sampled_from([0, LOOK, 2**64 - 1]),
              st.lists(st.integers(0, 63), max_size=7)),
    max_size=30,
)  # fmt: skip


@given(HASHES, HASHES)
def test_near_is_what_a_comparison_of_all_with_all_says(hashes: list[int], to: list[int]) -> None:
    others = np.array(to, np.uint64)
    expected = [bool(len(to)) and int(distances(others, each).min()) <= NEAR_BITS for each in hashes]
    assert near(np.array(hashes, np.uint64), others).tolist() == expected


def test_nothing_is_held_back_where_nothing_was_said() -> None:
    groups, splits = np.full(4, LOOK, np.uint64), np.array([TRAIN, VAL, TEST, TRAIN], np.uint8)
    said = np.zeros(4, np.bool_)
    assert sides(groups, splits, said).tolist() == splits.tolist()
    assert not len(set_aside(groups, splits, said))
    assert sides(NONE, np.zeros(0, np.uint8), np.zeros(0, np.bool_)).tolist() == []
