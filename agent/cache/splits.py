"""On which side of a split pictures fell when they were learnt."""

from pathlib import Path

import numpy as np

from agent.cache import Cache
from agent.learning.pictures.bursts import split_of
from agent.learning.pictures.labelled import LabelledPicture
from agent.learning.training.examples import HELD_BACK
from agent.records import SPLITS, Split, example_id, picture_id
from agent.region import UNCUT, Cut


class LearntSplits:
    """The splits of what the cache holds, as a training sees them; its examples are `cut` out of pictures."""

    def __init__(self, folder: Path, cut: Cut = UNCUT) -> None:
        self._cut = cut
        self._frame_ids, self._splits = np.zeros(0, np.uint64), np.zeros(0, np.uint8)
        if any(folder.glob("*.seg")):
            with Cache.read(folder) as cache:
                examples = cache.examples()
            order = np.argsort(examples.frame_ids)
            self._frame_ids, self._splits = examples.frame_ids[order], examples.splits[order]

    def split(self, picture: LabelledPicture) -> Split:
        """The one that is named, or that it was learnt with; what was never learnt falls where its hash says.

        What is held back is in train: neither val nor test may judge by it.
        """
        if picture.split is not None:
            return picture.split
        try:
            frame_id = example_id(picture_id(picture.read()), self._cut)
        except OSError:
            return "train"
        number = np.uint64(int(frame_id, 16))
        at = int(np.searchsorted(self._frame_ids, number))
        if at < len(self._frame_ids) and self._frame_ids[at] == number:
            side = int(self._splits[at])
            return "train" if side == HELD_BACK else SPLITS[side]
        return split_of(bytes.fromhex(frame_id))
