import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.learning.training.difference import difference
from agent.learning.training.examples import ArrayExamples

classes = st.dictionaries(st.integers(0, 40), st.integers(0, 3), max_size=20)


@given(before=classes, after=classes, departed=st.sets(st.integers(0, 40)), seed=st.integers(0, 100))
def test_it_is_what_turns_the_one_into_the_other(
    before: dict[int, int], after: dict[int, int], departed: set[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.array(list(after), np.uint64))
    targets = np.array([after[int(frame)] for frame in ids], np.int32)
    source = ArrayExamples(np.zeros((len(ids), 1), np.uint8), targets, ("a", "b", "c", "d"))
    source.frame_ids = ids
    source.departed = np.array(sorted(departed), np.uint64)
    readable = [*ids.tolist(), *source.departed.tolist()]
    kept = np.array(sorted(before), np.uint64)
    kept_classes = np.array([before[int(frame)] for frame in kept], np.int32)
    change = difference(kept, kept_classes, source, np.arange(len(ids)), targets)
    assert change is not None
    now = dict(before)
    for row, was, becomes in zip(change.rows.tolist(), change.before.tolist(), change.after.tolist(), strict=True):
        frame = readable[row]
        assert now.pop(frame, -1) == was != becomes
        if becomes >= 0:
            now[frame] = becomes
    lost = {frame for frame in before if frame not in readable}
    assert change.gone == len(lost)
    assert now == after | {frame: before[frame] for frame in lost}


def test_examples_that_cannot_be_told_apart_have_no_difference() -> None:
    ids = np.array([1, 1], np.uint64)
    source = ArrayExamples(np.zeros((2, 1), np.uint8), np.zeros(2), ("a",))
    source.frame_ids = ids
    assert difference(ids[:1], np.zeros(1, np.int32), source, np.arange(2), source.targets) is None
