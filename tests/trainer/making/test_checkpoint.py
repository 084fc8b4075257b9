from pathlib import Path
from typing import Any

import pytest

from agent.errors import StateError
from tests.trainer.needing_keras import NEEDING_KERAS

pytestmark = NEEDING_KERAS


def test_a_checkpoint_that_does_not_fit_on_the_disk_leaves_the_one_before(small_disk: Path) -> None:
    import keras

    from trainer.making import checkpoint

    def network(width: int) -> Any:
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width)])

    path = small_disk / "net.keras"
    checkpoint.write(network(2), path, checkpoint.Standing(step=3))
    with pytest.raises(StateError, match="cannot be written"):
        checkpoint.write(network(20_000), path, checkpoint.Standing(step=4))
    assert checkpoint.read_standing(path).step == 3
    assert keras.saving.load_model(path).output_shape == (None, 2)
    assert [file.name for file in small_disk.iterdir()] == ["net.keras"]
