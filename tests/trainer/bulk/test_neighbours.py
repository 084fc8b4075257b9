import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.learning.pictures.bursts import Bursts
from agent.records import Split
from trainer.bulk.neighbours import Neighbours

NONE = np.zeros(0, np.uint64)
BASE = st.sampled_from([0, 1, 2**64 - 1, 0x0F0F0F0F0F0F0F0F])
NEAR = st.builds(
    lambda base, bits: base ^ sum({1 << bit for bit in bits}), BASE, st.lists(st.integers(0, 63), max_size=6)
)
SAID = st.lists(st.tuples(NEAR, st.sampled_from([None, None, "train", "val", "test"])), max_size=40)


@given(SAID)
def test_groups_are_those_that_the_board_finds(pictures: list[tuple[int, Split | None]]) -> None:
    bursts, neighbours = Bursts(), Neighbours(NONE, NONE)
    found = [neighbours.join(each, said) for each, said in pictures]
    assert found == [bursts.join("", "any", 0, each, said) for each, said in pictures]


@given(st.lists(NEAR, max_size=40), st.lists(NEAR, max_size=10))
def test_groups_do_not_depend_on_whether_there_was_a_break(before: list[int], after: list[int]) -> None:
    first = Neighbours(NONE, NONE)
    groups = [first.join(each) for each in before]
    second = Neighbours(np.unique(np.array(groups, np.uint64)), NONE)
    assert [second.join(each) for each in after] == [first.join(each) for each in after]
