"""Arrays from a file of torch.save, without torch, and without running what a pickle names.

Before torch 1.6 such a file was no zip but pickles one behind the other: a magic number, the version of the format, the
system, the object, and the keys of its storages; then for each storage an int64 count and the raw values. In the object
an array says where it begins in its storage, and by what strides it goes through it, which need not be in C's order.
"""

import collections
import io
import math
import pickle
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import ConfigError

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_STORAGES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]
    count: int


@dataclass(frozen=True)
class _Array:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in values

    def within(self, values: NDArray[Any]) -> NDArray[Any]:
        """A copy in C's order. Raises ValueError where it reaches beyond its storage."""
        if len(self.shape) != len(self.strides) or min((self.offset, *self.shape, *self.strides), default=0) < 0:
            raise ValueError(f"an array of {self.shape} by {self.strides}")
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if 0 not in self.shape and max(last, math.prod(self.shape) - 1) >= len(values):
            raise ValueError(f"an array of {self.shape} reaches beyond its storage of {len(values)} values")
        steps = [stride * values.itemsize for stride in self.strides]
        view: NDArray[Any] = np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, steps)
        return np.array(view, order="C")


class _Unpickler(pickle.Unpickler):
    """Knows the names that such a file needs, and refuses every other."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no file of weights needs")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count, view = pid
        if kind != "storage" or view is not None or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f"it has {str(pid)[:80]} for a storage")
        return _Storage(str(key), dtype, int(count))


def _rebuilt(storage: _Storage, offset: int, shape: Sequence[int], strides: Sequence[int], *_: Any) -> _Array:
    return _Array(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def arrays(content: bytes, name: str) -> dict[str, NDArray[Any]]:
    """The arrays of a dictionary by their keys; `name` is the file's, for messages.

    Raises ConfigError for what is no such file, is torn, or names anything else than arrays.
    """
    try:
        return _arrays(io.BytesIO(content))
    except Exception as error:  # what a damaged pickle may raise, nobody has written down
        raise ConfigError(
            f"{name} is no whole file of weights of torch.save (before its version 1.6): {error}"
        ) from error


def _arrays(file: io.BytesIO) -> dict[str, NDArray[Any]]:
    if _Unpickler(file).load() != _MAGIC or _Unpickler(file).load() != _VERSION:
        raise ValueError("its magic number or its version is another")
    if not _Unpickler(file).load()["little_endian"]:
        raise ValueError("its values are big-endian")
    described: Mapping[str, _Array] = _Unpickler(file).load()
    stored = {one.storage.key: one.storage for one in described.values()}
    values = {}
    for key in _Unpickler(file).load():
        storage = stored[key]
        (count,) = struct.unpack("<q", file.read(8))
        content = file.read(storage.count * storage.dtype.itemsize)
        if count != storage.count or len(content) != storage.count * storage.dtype.itemsize:
            raise ValueError(f"the storage {key} is not whole")
        values[key] = np.frombuffer(content, storage.dtype)
    if file.read(1):
        raise ValueError("something stands behind its end")
    return {key: one.within(values[one.storage.key]) for key, one in described.items()}
