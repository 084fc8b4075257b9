from pathlib import Path

import numpy as np
import pytest

from agent.errors import DatasetError
from agent.vision.image import decode_upright
from tests.trainer.making.shards import encoded, write_shard
from trainer.exporting.sampling import sample_pictures


def test_a_sample_from_a_folder_never_shares_a_picture_between_its_two_lots(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / f"class{number % 2}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.png").write_bytes(encoded(8, 8, number))
    (tmp_path / "class0" / "torn.jpg").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("not looked at")
    sample = sample_pictures(tmp_path, (8, 8), 50, 50, seed=0)
    calibration, held_out = sample.calibration, sample.held_out
    assert sample.unreadable == 1
    assert len(calibration) + len(held_out) == 20
    assert len(np.unique(np.concatenate([calibration, held_out]).reshape(20, -1), axis=0)) == 20
    few = sample_pictures(tmp_path, (16, 12), 3, 2, seed=0)
    assert few.calibration.shape == (3, 16, 12, 3)


def test_a_sample_from_shards_keeps_validation_pictures_for_verification(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.npz", [encoded(8, 8, n) for n in range(6)], [0] * 6, [0, 0, 0, 0, 1, 1])
    sample = sample_pictures(tmp_path, (8, 8), 10, 10, seed=0)
    for lot, seeds in ((sample.calibration, range(4)), (sample.held_out, range(4, 6))):
        wanted = np.stack([decode_upright(encoded(8, 8, seed)) for seed in seeds])
        assert sorted(map(np.ndarray.tobytes, lot)) == sorted(map(np.ndarray.tobytes, wanted))


def test_too_few_pictures_for_a_sample_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="too few"):
        sample_pictures(tmp_path, (8, 8), 5, 5, seed=0)
    with pytest.raises(DatasetError, match="no folder"):
        sample_pictures(tmp_path / "nowhere", (8, 8), 5, 5, seed=0)
