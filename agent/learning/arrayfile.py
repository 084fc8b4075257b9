"""Arrays in a file that notices damage.

MAGIC, the length of the header (u32), the header (JSON), the arrays one after the other, and the CRC-32 of all that
comes before (u32); little-endian.
"""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import StateError
from agent.files import write_atomically

MAGIC = b"LLARRAY\x01"

Arrays = dict[str, NDArray[Any]]


def to_bytes(header: dict[str, Any], arrays: Arrays) -> bytes:
    """`header` must be fit for JSON. Shapes and dtypes are kept."""
    little = {name: array.astype(array.dtype.newbyteorder("<"), copy=False) for name, array in arrays.items()}
    shapes = {name: [array.dtype.str, list(array.shape)] for name, array in little.items()}
    text = json.dumps({"header": header, "arrays": shapes}, ensure_ascii=False).encode()
    parts = [MAGIC, struct.pack("<I", len(text)), text, *(array.tobytes() for array in little.values())]
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return b"".join([*parts, struct.pack("<I", crc)])


def from_bytes(stored: bytes) -> tuple[dict[str, Any], Arrays]:
    """Header and arrays (read-only). Raises StateError for anything but what `to_bytes` gave."""
    body = memoryview(stored)[:-4]
    if len(stored) < 16 or body[:8] != MAGIC or zlib.crc32(body) != struct.unpack("<I", stored[-4:])[0]:
        raise StateError("it is damaged, or of another format")
    start = 12 + struct.unpack("<I", body[8:12])[0]
    content = json.loads(bytes(body[12:start]))
    arrays: Arrays = {}
    for name, (dtype, shape) in content["arrays"].items():
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(body, dtype, count, start)
        arrays[name] = array.reshape(shape).astype(array.dtype.newbyteorder("="), copy=False)
        start += array.nbytes
    return content["header"], arrays


def save(path: Path, header: dict[str, Any], arrays: Arrays) -> None:
    """Whole or not at all. Raises StateError where it cannot be written; then the old file, if any, is still there."""
    try:
        write_atomically(path, to_bytes(header, arrays))
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error.strerror or error}") from error


def load(path: Path) -> tuple[dict[str, Any], Arrays] | None:
    """None where there is no such file. Raises StateError for one that is damaged or cannot be read."""
    try:
        return from_bytes(path.read_bytes())
    except FileNotFoundError:
        return None
    except StateError as error:
        raise StateError(f"{path}: {error}") from error
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror or error}") from error
