"""On which side of a split examples fall, once it is known what others look like.

What somebody said goes before what a hash decides: an example that looks like one that somebody put into `val` or
`test`, and was not put there itself, is held back, whatever was said of it. A head that was trained on it would be
praised for what it knows by heart. And what a hash put into `val` or `test` trains, where it looks like what somebody
put into `train`.

That is decided when examples are read, by their groups, so it does not matter in which order they came.
"""

import numpy as np
from numpy.typing import NDArray

from agent.learning.pictures.bursts import near, telling
from agent.learning.training.examples import HELD_BACK, TRAIN


def sides(groups: NDArray[np.uint64], splits: NDArray[np.uint8], said: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The side of each example [N]: an index into records.SPLITS, or HELD_BACK.

    `groups` are those of bursts.py, `splits` as they were decided when the examples came, by somebody where `said`.
    """
    found: NDArray[np.uint8] = splits.copy()
    aside = set_aside(groups, splits, said)
    if len(aside):
        found[~(said & (splits != TRAIN)) & near(groups, aside)] = HELD_BACK
    by_hash = ~said & (found != TRAIN) & (found != HELD_BACK)
    trained = _telling(groups[said & (found == TRAIN)])
    if len(trained) and by_hash.any():
        found[by_hash] = np.where(near(groups[by_hash], trained), TRAIN, found[by_hash])
    return found


def set_aside(groups: NDArray[np.uint64], splits: NDArray[np.uint8], said: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """The groups [m], each once, of what somebody put into val or test, but for even pictures; arguments as above."""
    return _telling(groups[said & (splits != TRAIN)])


def _telling(groups: NDArray[np.uint64]) -> NDArray[np.uint64]:
    each = np.unique(groups)
    return each[telling(each)]
