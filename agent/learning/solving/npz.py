"""The .npz of a head, read as if a stranger had written it: its directory and headers first, then the arrays.

numpy and zipfile believe what a file says of its sizes, and unpack a few kB into gigabytes. What `numpy.savez` writes
is stored, not deflated: so an array is a part of the file, and a file cannot hold more than its own bytes.
"""

import io
import math
import re
import struct
import zipfile
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_END = struct.Struct("<4s4H2LH")  # of the directory: its signature, disks, entries (twice), bytes, place, comment
_LOCAL = struct.Struct("<4s22x2H")  # before a member: its signature, the lengths of its name and of what is added
_ZIP64_END = b"PK\x06\x07"
_MAX_DIRECTORY_BYTES = 4096
_MAX_ENTRIES = 16
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '(?P<dtype>[<|]\w\d)', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>\d{1,9},(?: \d{1,9})?)\), \} *\n"
)


def arrays_of(npz: bytes, wanted: Mapping[str, str]) -> dict[str, NDArray[np.generic]]:
    """The arrays of one or two dimensions in an .npz that holds those `wanted`, by name and dtype, and nothing else.

    They are views of `npz`. Raises ValueError for anything but what numpy.savez writes.
    """
    members = _directory(npz)
    if {member.filename for member in members} != {f"{name}.npy" for name in wanted} or len(members) != len(wanted):
        raise ValueError(f"it must hold {', '.join(wanted)}, once each, and nothing else")
    return {
        member.filename.removesuffix(".npy"): _array(npz, member, wanted[member.filename.removesuffix(".npy")])
        for member in members
    }


def _directory(npz: bytes) -> list[zipfile.ZipInfo]:
    """The members, as its directory has them, which is small: how many there are is looked up first."""
    if len(npz) < _END.size:
        raise ValueError("it is no zip file")
    signature, *_, entries, size, _, comment = _END.unpack_from(npz, len(npz) - _END.size)
    if signature != b"PK\x05\x06" or comment or npz[-_END.size - 20 :].startswith(_ZIP64_END):
        raise ValueError("it is no zip file as numpy writes them")
    if entries > _MAX_ENTRIES or size > _MAX_DIRECTORY_BYTES:
        raise ValueError(f"it holds {entries} members, described in {size} bytes")
    try:
        with zipfile.ZipFile(io.BytesIO(npz)) as opened:
            return opened.infolist()
    except (zipfile.BadZipFile, NotImplementedError, struct.error, OSError) as error:
        raise ValueError(f"its directory cannot be read: {error}") from error


def _array(npz: bytes, member: zipfile.ZipInfo, dtype: str) -> NDArray[np.generic]:
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size or member.flag_bits & 1:
        raise ValueError(f"{member.filename} is packed: an array of a head is stored as it is")
    content = _content(npz, member)
    if len(content) < len(_MAGIC) + 2 or content[: len(_MAGIC)] != _MAGIC:
        raise ValueError(f"{member.filename} is no array in numpy's format 1.0")
    begin = len(_MAGIC) + 2
    length = int.from_bytes(content[begin - 2 : begin], "little")
    header = _HEADER.fullmatch(content[begin : begin + length])
    if header is None or header["dtype"] != dtype.encode():
        raise ValueError(f"{member.filename} is no array of {dtype} with one or two dimensions")
    shape = [int(size) for size in re.findall(rb"\d+", header["shape"])]
    values = content[begin + length :]
    if math.prod(shape) * np.dtype(dtype).itemsize != len(values):
        raise ValueError(f"{member.filename} has {len(values)} bytes, and says that its shape is {shape}")
    return np.frombuffer(values, dtype).reshape(shape, order="F" if header["fortran"] == b"True" else "C")


def _content(npz: bytes, member: zipfile.ZipInfo) -> memoryview:
    begin = member.header_offset
    if not 0 <= begin <= len(npz) - _LOCAL.size:
        raise ValueError(f"{member.filename} does not lie in the file")
    signature, name_length, extra_length = _LOCAL.unpack_from(npz, begin)
    begin += _LOCAL.size + name_length + extra_length
    if signature != b"PK\x03\x04" or begin + member.file_size > len(npz):
        raise ValueError(f"{member.filename} does not lie in the file")
    return memoryview(npz)[begin : begin + member.file_size]
