"""Where a view looks: a part of a frame's upright picture, turned if need be."""

from dataclasses import dataclass
from typing import Literal

Region = tuple[float, float, float, float]  # left, top, width and height, as shares of the upright picture
Turn = Literal[0, 90, 180, 270]  # degrees clockwise

WHOLE: Region = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Cut:
    """What is cut out of a picture, and turned then."""

    region: Region = WHOLE
    turned: Turn = 0

    @property
    def is_whole(self) -> bool:
        """Whether it leaves the picture as it is."""
        return self == UNCUT


UNCUT = Cut()
