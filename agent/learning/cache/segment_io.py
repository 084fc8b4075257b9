"""The records of a segment as bytes: written, read, and checked."""

import os
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.learning.cache.segment import FILL_BYTES, PAGE_BYTES, STORED_ENTRY, Segment, pwrite


def checksums(rows: NDArray[Any]) -> NDArray[np.uint32]:
    """The CRC-32 [n] of each of the rows [n] or [n, D], as they lie in memory."""
    if not len(rows):
        return np.empty(0, np.uint32)
    raw = np.ascontiguousarray(rows).view(np.uint8).reshape(-1).data
    size = len(raw) // len(rows)
    return np.fromiter((zlib.crc32(raw[at : at + size]) for at in range(0, len(raw), size)), np.uint32, len(rows))


def seal(records: NDArray[Any]) -> None:
    """Fill in the checksums of records [n] of a layout."""
    entries = records["stored"]["entry"]
    entries["bottleneck_crc"] = checksums(records["bottleneck"])
    records["stored"]["crc"] = checksums(entries)


def read_entries(segment: Segment) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.bool_]]:
    """The entries [capacity] of a segment, which of them are intact, and in which something stands. Raises OSError."""
    stored = np.zeros(segment.capacity, STORED_ENTRY)
    if segment.capacity:
        _preadv(segment.descriptor, [stored.view(np.uint8).data], segment.entry_offset(0), stored.nbytes)
    raw = stored.view(np.uint8).reshape(segment.capacity, STORED_ENTRY.itemsize)
    begun: NDArray[np.bool_] = np.any(raw, axis=1)  # zeros are space that waits
    entries: NDArray[Any] = stored["entry"].copy()
    intact = np.logical_and(checksums(entries) == stored["crc"], begun)
    return entries, intact, begun


def read_into(segment: Segment, row: int, buffers: list[Any], size: int) -> None:
    """Fill buffers, `size` bytes together, one after the other with what stands from `row` on. Raises OSError."""
    _preadv(segment.descriptor, buffers, segment.bottleneck_offset(row), size)


def _preadv(descriptor: int, buffers: list[Any], offset: int, size: int) -> None:
    """What is behind the end of the file reads as zeros, which no checksum fits."""
    if os.preadv(descriptor, buffers, offset) == size:
        return
    joined = bytearray()  # the file ends here, or the read was interrupted: rare, so done plainly
    while len(joined) < size and (part := os.pread(descriptor, size - len(joined), offset + len(joined))):
        joined += part
    joined = joined.ljust(size, b"\0")
    at = 0
    for buffer in buffers:
        view = memoryview(buffer).cast("B")
        view[:] = joined[at : at + len(view)]
        at += len(view)


def read_ahead(segment: Segment, row: int, count: int) -> None:
    """Let the kernel fetch rows that will be asked for next while something else is done."""
    size = segment.layout.bottleneck_bytes
    os.posix_fadvise(segment.descriptor, segment.bottleneck_offset(row), count * size, os.POSIX_FADV_WILLNEED)


def bad_bottlenecks(segment: Segment, entries: NDArray[Any], block_rows: int = 512) -> NDArray[np.bool_]:
    """Which of the first n bottlenecks do not fit their entries [n]; reads all, a block at a time. Raises OSError."""
    bad = np.zeros(len(entries), np.bool_)
    block = np.empty((min(block_rows, max(1, len(entries))), segment.layout.bottleneck_bytes), np.uint8)
    for first in range(0, len(entries), block_rows):
        part = entries[first : first + block_rows]
        read_into(segment, first, [block[: len(part)]], len(part) * segment.layout.bottleneck_bytes)
        bad[first : first + len(part)] = checksums(block[: len(part)]) != part["bottleneck_crc"]
    return bad


def write_rows(segment: Segment, records: NDArray[Any], start: int, *, fill: bool = False) -> int:
    """Write sealed records [n] from row `start` on; the bytes written, in whole pages. Raises OSError. Not synced.

    With `fill`, zeros are written ahead: a write to space that was never written costs an entry in the file
    system's journal, which for single records is more than the zeros.
    """
    offset = segment.bottleneck_offset(start)
    raw = np.ascontiguousarray(records["bottleneck"]).view(np.uint8).tobytes()
    end = offset + len(raw)
    if fill and end > segment.filled:
        ahead = min(-(-end // FILL_BYTES) * FILL_BYTES, segment.size_bytes)
        raw += bytes(ahead - end)
        segment.filled = ahead
    pwrite(segment.descriptor, raw, offset)
    entries = np.ascontiguousarray(records["stored"]).tobytes()
    pwrite(segment.descriptor, entries, segment.entry_offset(start))
    return page_bytes(offset, len(raw)) + page_bytes(segment.entry_offset(start), len(entries))


def clear_entries(segment: Segment, start: int, stop: int) -> None:
    """Turn the rows from `start` to `stop` back into waiting space. Raises OSError. Not synced."""
    pwrite(segment.descriptor, bytes((stop - start) * STORED_ENTRY.itemsize), segment.entry_offset(start))


def page_bytes(offset: int, size: int) -> int:
    """What a write of `size` bytes at `offset` costs in whole pages."""
    return (-(-(offset + size) // PAGE_BYTES) - offset // PAGE_BYTES) * PAGE_BYTES
