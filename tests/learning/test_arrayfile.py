from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.errors import StateError
from agent.learning import arrayfile

HEADER: dict[str, Any] = {"labels": ["стекло", "paper"], "chosen": None}
ARRAYS: arrayfile.Arrays = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4),
    "b": np.array(7, np.int64),
    "c": np.array([1, 2], ">u2"),
    "d": np.zeros((0, 5), np.uint8),
}


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    arrayfile.save(tmp_path / "x", HEADER, ARRAYS)
    found = arrayfile.load(tmp_path / "x")
    assert found is not None
    assert found[0] == HEADER
    for name, array in ARRAYS.items():
        assert found[1][name].shape == array.shape
        np.testing.assert_array_equal(found[1][name], array)
    assert found[1]["c"].dtype == np.dtype("u2")
    assert arrayfile.load(tmp_path / "none") is None


def test_a_file_that_is_cut_or_changed_anywhere_is_refused(tmp_path: Path) -> None:
    stored = arrayfile.to_bytes(HEADER, ARRAYS)
    for place in range(len(stored)):
        changed = bytearray(stored)
        changed[place] ^= 1 << place % 8
        for bad in (bytes(changed), stored[:place]):
            with pytest.raises(StateError, match="damaged"):
                arrayfile.from_bytes(bad)


def test_what_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"no arrays")
    with pytest.raises(StateError, match="file"):
        arrayfile.load(tmp_path / "file")
    with pytest.raises(StateError, match="cannot be read"):
        arrayfile.load(tmp_path)
    with pytest.raises(StateError, match="cannot be written"):
        arrayfile.save(tmp_path / "file" / "below", HEADER, ARRAYS)
