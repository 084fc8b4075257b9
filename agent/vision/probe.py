"""A picture of our own, by which one sees whether a frame would still get its bottleneck."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.vision.image import Line, drawn

TOLERANCE = 1e-3  # of the largest value: threads that sum in another order stay far below


class Probe:
    """`picture` holds the bytes of a PNG. It must give the same bottleneck each time: so a model is noticed whose file
    was overwritten while it was loaded, and memory that forgets."""

    def __init__(self) -> None:
        stripes = [Line([(8 * at, 0), (64 - 8 * at, 64)], color, 4) for at, color in enumerate(("red", "lime", "blue"))]
        self.picture = drawn(64, 64, stripes)
        self._first: NDArray[np.float64] | None = None

    def fault(self, bottleneck: NDArray[Any], scores: NDArray[Any]) -> str | None:
        """What is wrong with a bottleneck [D] that the picture gave, or with what the head made of it."""
        values = bottleneck.astype(np.float64)
        if not (np.isfinite(values).all() and np.isfinite(scores).all()):
            return "what comes out for a picture of our own is not finite"
        if self._first is None:
            self._first = values
        allowed = TOLERANCE * float(np.abs(self._first).max(initial=0.0))
        if np.allclose(values, self._first, rtol=0.0, atol=allowed):
            return None
        return (
            "one and the same picture has another bottleneck than at the start: the model's file was overwritten, or "
            "memory or flash are failing"
        )
