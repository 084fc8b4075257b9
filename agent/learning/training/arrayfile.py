"""Arrays in a file that notices damage, each of which can be read without the others.

MAGIC, length (u32) and CRC-32 (u32) of the header, the header (JSON, with the CRC-32 of each array), and the arrays
one after the other; little-endian.
"""

import json
import os
import struct
import weakref
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.board.files import write_atomically
from agent.errors import StateError

MAGIC = b"LLARRAY\x02"

_LENGTHS = struct.Struct("<II")

Arrays = dict[str, NDArray[Any]]


class ArrayFile:
    """Open for reading; it stays what it was when it was opened, whatever takes its place. `header` as it was saved."""

    def __init__(self, path: Path) -> None:
        """Raises StateError for anything but what `save` wrote, or where it cannot be read, and FileNotFoundError."""
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            weakref.finalize(self, os.close, self._descriptor)
            self._size = os.fstat(self._descriptor).st_size
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._unreadable(error) from error
        if self._part(0, len(MAGIC)) != MAGIC:
            raise self._damaged()
        length, crc = _LENGTHS.unpack(self._part(len(MAGIC), _LENGTHS.size))
        begin = len(MAGIC) + _LENGTHS.size
        text = self._part(begin, length)
        if zlib.crc32(text) != crc:
            raise self._damaged()
        content = json.loads(text)
        self.header: dict[str, Any] = content["header"]
        self._arrays: dict[str, tuple[str, list[int], int]] = content["arrays"]  # dtype, shape, CRC-32
        self._offsets: dict[str, int] = {}
        begin += length
        for name, (dtype, shape, _) in self._arrays.items():
            self._offsets[name] = begin
            begin += _bytes(dtype, shape)
        if begin != self._size:
            raise self._damaged()

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    @property
    def names(self) -> Iterable[str]:
        return self._arrays.keys()

    def read(self, name: str) -> NDArray[Any]:
        """A new array. Raises StateError where it is damaged or cannot be read, KeyError where there is none."""
        dtype, shape, crc = self._arrays[name]
        raw = self._part(self._offsets[name], _bytes(dtype, shape))
        if zlib.crc32(raw) != crc:
            raise self._damaged()
        array: NDArray[Any] = np.frombuffer(raw, dtype).reshape(shape)
        return array.astype(array.dtype.newbyteorder("="), copy=False)

    def _part(self, offset: int, size: int) -> bytearray:
        if offset + size > self._size:
            raise self._damaged()
        part = bytearray(size)
        try:
            read = os.preadv(self._descriptor, [part], offset)
        except OSError as error:
            raise self._unreadable(error) from error
        if read != size:
            raise self._damaged()
        return part

    def _damaged(self) -> StateError:
        return StateError(f"{self._path}: it is damaged, or of another format")

    def _unreadable(self, error: OSError) -> StateError:
        return StateError(f"{self._path} cannot be read: {error.strerror or error}")


def _bytes(dtype: str, shape: list[int]) -> int:
    return int(np.dtype(dtype).itemsize * np.prod(shape, dtype=np.int64))


def save(path: Path, header: dict[str, Any], arrays: Arrays) -> None:
    """Whole or not at all. `header` must be fit for JSON; shapes and dtypes are kept.

    Raises StateError where it cannot be written; then the old file, if any, is still there.
    """
    parts, described = [], {}
    for name, array in arrays.items():
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        parts.append(little.reshape(-1).view(np.uint8).data)  # not copied: they may be most of the memory there is
        described[name] = little.dtype.str, list(array.shape), zlib.crc32(parts[-1])
    text = json.dumps({"header": header, "arrays": described}, ensure_ascii=False).encode()
    lengths = _LENGTHS.pack(len(text), zlib.crc32(text))
    try:
        write_atomically(path, MAGIC, lengths, text, *parts)
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error.strerror or error}") from error


def load(path: Path) -> tuple[dict[str, Any], Arrays] | None:
    """Header and all arrays; None where there is no such file. Raises StateError for a damaged or unreadable one."""
    try:
        opened = ArrayFile(path)
    except FileNotFoundError:
        return None
    return opened.header, {name: opened.read(name) for name in opened.names}
