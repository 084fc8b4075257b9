import hashlib

import numpy as np
import pytest

from trainer.exporting.verification import CANARIES, canaries, canary


@pytest.mark.parametrize(("height", "width"), [(96, 96), (224, 160), (1, 1)])
def test_canaries_have_the_size_that_is_asked_for_and_differ(height: int, width: int) -> None:
    pictures = canaries(height, width)
    assert pictures.shape == (CANARIES, height, width, 3)
    assert pictures.dtype == np.uint8
    assert len(np.unique(pictures.reshape(len(pictures), -1), axis=0)) == len(pictures)


def test_every_machine_makes_the_same_canaries() -> None:
    """A change of a single bit would make the references of all bundles worthless."""
    digest = hashlib.sha256(canaries(96, 96).tobytes()).hexdigest()
    assert digest == "6c24d7febb83c2e08551dfe7be54649c062e7532c13b23ed71e171fceba24dc0"


def test_a_canary_is_smooth_and_uses_the_range() -> None:
    picture = canary(0, 96, 96).astype(int)
    assert np.abs(np.diff(picture, axis=0)).max() < 30
    assert picture.min() < 40
    assert picture.max() > 215
