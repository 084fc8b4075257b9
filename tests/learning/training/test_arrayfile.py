from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.errors import StateError
from agent.learning.training import arrayfile

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
    path = tmp_path / "x"
    arrayfile.save(path, HEADER, ARRAYS)
    stored = path.read_bytes()
    for place in range(len(stored)):
        changed = bytearray(stored)
        changed[place] ^= 1 << place % 8
        for bad in (bytes(changed), stored[:place]):
            path.write_bytes(bad)
            with pytest.raises(StateError, match="damaged"):
                arrayfile.load(path)


def test_an_array_is_read_without_the_others_and_from_the_file_that_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "x"
    arrayfile.save(path, HEADER, ARRAYS)
    stored = bytearray(path.read_bytes())
    stored[-1] ^= 1  # of c, the last that is not empty
    path.write_bytes(stored)
    opened = arrayfile.ArrayFile(path)
    arrayfile.save(path, {}, {})
    assert opened.header == HEADER
    assert "a" in opened
    assert "e" not in opened
    np.testing.assert_array_equal(opened.read("a"), ARRAYS["a"])
    with pytest.raises(StateError, match="damaged"):
        opened.read("c")


def test_what_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"no arrays")
    with pytest.raises(StateError, match="file"):
        arrayfile.load(tmp_path / "file")
    with pytest.raises(StateError, match="cannot be read"):
        arrayfile.load(tmp_path)
    with pytest.raises(StateError, match="cannot be written"):
        arrayfile.save(tmp_path / "file" / "below", HEADER, ARRAYS)
