"""Files as torch wrote them before 1.6, made here by pickle alone."""

import collections
import io
import pickle
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ConfigError
from trainer.networks.torch_file import arrays

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001


class Named:
    """What a pickle says by its name alone."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Storage:
    def __init__(self, kind: str, key: str, count: int) -> None:
        self.kind, self.key, self.count = kind, key, count


InPython: Any = pickle._Pickler  # which can be told what a name is


class Pickler(InPython):  # type: ignore[misc]
    def persistent_id(self, thing: Any) -> Any:
        if isinstance(thing, Storage):
            return ("storage", Named("torch", thing.kind), thing.key, "cpu", thing.count, None)
        return None

    def save(self, thing: Any, save_persistent_id: bool = True) -> Any:
        if isinstance(thing, Named):
            self.write(b"c" + f"{thing.module}\n{thing.name}\n".encode())
            return None
        if isinstance(thing, Tensor):
            self.save(Named("torch._utils", "_rebuild_tensor_v2"))
            self.save((thing.storage, thing.offset, thing.shape, thing.strides, False, collections.OrderedDict()))
            self.write(pickle.REDUCE)
            return None
        return super().save(thing, save_persistent_id)


class Tensor:
    def __init__(self, storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides


def torch_file(tensors: Mapping[str, Any], stored: Mapping[str, np.ndarray], magic: int = MAGIC) -> bytes:
    """Tensors by their keys, and the values of their storages."""
    file = io.BytesIO()
    for thing in (magic, VERSION, {"protocol_version": VERSION, "little_endian": True}, dict(tensors), list(stored)):
        Pickler(file, 2).dump(thing)
    for values in stored.values():
        file.write(struct.pack("<q", len(values)) + values.tobytes())
    return file.getvalue()


def one(**how: Any) -> bytes:
    values = np.arange(24, dtype="<f4")
    of: dict[str, Any] = {"offset": 0, "shape": (2, 3, 4), "strides": (12, 4, 1), "count": 24} | how
    storage = Storage("FloatStorage", "a", of["count"])
    return torch_file({"weight": Tensor(storage, of["offset"], of["shape"], of["strides"])}, {"a": values})


def test_an_array_is_what_torch_stored() -> None:
    np.testing.assert_array_equal(arrays(one(), "file")["weight"], np.arange(24).reshape(2, 3, 4))


def test_strides_that_are_not_those_of_c_are_followed() -> None:
    found = arrays(one(strides=(1, 8, 2)), "file")["weight"]
    np.testing.assert_array_equal(found, np.arange(24).reshape(3, 4, 2).transpose(2, 0, 1))
    assert found.flags.c_contiguous


def test_several_arrays_share_a_storage() -> None:
    storage, values = Storage("LongStorage", "s", 4), np.arange(4, dtype="<i8")
    content = torch_file({"a": Tensor(storage, 0, (2,), (1,)), "b": Tensor(storage, 2, (), ())}, {"s": values})
    found = arrays(content, "file")
    assert found["a"].tolist() == [0, 1]
    assert found["b"] == 2


@pytest.mark.parametrize(
    "how",
    [
        {"offset": 1},
        {"shape": (2, 3, 5)},
        {"strides": (100, 4, 1)},
        {"strides": (12, 4, -1)},
        {"offset": -1},
        {"shape": (2, 3), "strides": (12, 4, 1)},
        {"count": 23},
        {"shape": (1 << 40, 1, 1), "strides": (0, 0, 0)},
    ],
)
def test_an_array_that_does_not_fit_its_storage_is_refused(how: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="weights.pth is no whole file"):
        arrays(one(**how), "weights.pth")


def test_nothing_that_is_named_is_run() -> None:
    class Wicked:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return print, ("run",)

    with pytest.raises(ConfigError, match="print, which no file"):
        arrays(torch_file({"weight": Wicked()}, {}), "file")


@pytest.mark.parametrize("size", [0, 1, 30, 200, -1, -50])
def test_a_torn_file_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match="no whole file"):
        arrays(one()[:size], "file")


def test_what_stands_behind_the_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="behind its end"):
        arrays(one() + b"x", "file")


def test_another_magic_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="magic"):
        arrays(torch_file({}, {}, magic=1), "file")


@given(st.binary(max_size=300) | st.integers(0, 299).map(lambda at: one()[:at] + b"\xff" + one()[at + 1 :]))
def test_damage_raises_nothing_else(content: bytes) -> None:
    try:
        found = arrays(content, "file")
    except ConfigError as error:
        assert str(error).startswith("file is no whole file of weights")
    else:
        assert all(isinstance(array, np.ndarray) and array.size <= 24 for array in found.values())
