"""Whether frames could be classified: it is tried with a picture of our own."""

import logging
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from agent.learning.solving.head import Head
from agent.vision.backbone import Backbone
from agent.vision.drawing import Line, drawn
from agent.vision.image import decode

log = logging.getLogger(__name__)

TOLERANCE = 1e-3  # of the largest value: threads that sum in another order stay far below


class Probe:
    """A picture of our own, by which one sees whether a frame would still get its bottleneck.

    `picture` holds the bytes of a PNG. It must give the same bottleneck each time: so a model is noticed whose file
    was overwritten while it was loaded, and memory that forgets.
    """

    def __init__(self, backbone: Backbone) -> None:
        stripes = [Line([(8 * at, 0), (64 - 8 * at, 64)], color, 4) for at, color in enumerate(("red", "lime", "blue"))]
        self.picture = drawn(64, 64, stripes)
        self._backbone = backbone
        self._first: NDArray[np.float64] | None = None

    def trouble(self, timeout: float, heads: Iterable[Head]) -> str | None:
        """Why no frame can be classified by one of the heads; None where one can, and the picture gives the bottleneck
        that it gave at the first time. Waits `timeout` seconds for the backbone's turn."""
        backbone = self._backbone
        if not backbone.turn.acquire(timeout=timeout):
            return f"the backbone has been busy for {timeout:g} s"
        try:
            bottleneck = backbone.bottleneck(decode(self.picture, backbone.bundle.width, backbone.bundle.height))
            scores = [head.probabilities(bottleneck) for head in heads]
        except Exception as error:
            log.debug("a picture of our own could not be classified", exc_info=True)
            return f"the backbone failed on a picture of our own: {error}"
        finally:
            backbone.turn.release()
        return self.fault(bottleneck, scores)

    def fault(self, bottleneck: NDArray[np.generic], scores: Iterable[NDArray[np.generic]] = ()) -> str | None:
        """What is wrong with a bottleneck [D] that the picture gave, or with what heads made of it."""
        values = bottleneck.astype(np.float64)
        if not all(np.isfinite(each).all() for each in (values, *scores)):
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
