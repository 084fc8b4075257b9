"""The records of a segment as bytes: written, read, and checked."""

import os
import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.cache.flash.layout import PAGE_BYTES, STORED_ENTRY
from agent.cache.flash.segment import FILL_BYTES, Segment, pwrite

_SKIP_BYTES = 16 << 10  # reading so much that nobody wants costs less than another call
_MOST_BUFFERS = 512  # of one call; Linux takes 1024


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


class Read(NamedTuple):
    """Of a segment, each [capacity]."""

    entries: NDArray[Any]
    intact: NDArray[np.bool_]
    begun: NDArray[np.bool_]  # something stands there


def read_entries(segment: Segment) -> Read:
    """Raises OSError."""
    read = np.zeros(segment.capacity, segment.layout.record if segment.interleaved else STORED_ENTRY)
    if segment.capacity:
        _preadv(segment.descriptor, [read.view(np.uint8).data], segment.entry_offset(0), read.nbytes)
    stored: NDArray[Any] = read["stored"].copy() if segment.interleaved else read
    raw = stored.view(np.uint8).reshape(segment.capacity, STORED_ENTRY.itemsize)
    begun: NDArray[np.bool_] = np.any(raw, axis=1)  # zeros are space that waits
    entries: NDArray[Any] = stored["entry"].copy()
    intact = np.logical_and(checksums(entries) == stored["crc"], begun)
    earlier = intact & (entries["sequence"] < segment.header.oldest)  # so is what an earlier use of the file left
    return Read(entries, intact & ~earlier, begun & ~earlier)


def gather(segment: Segment, places: NDArray[np.intp], targets: NDArray[np.intp], out: NDArray[Any]) -> None:
    """Read the bottlenecks of rows `places` [n], ascending, into out[targets]. Raises OSError."""
    size, stride = segment.layout.bottleneck_bytes, segment.header.bottleneck_stride
    skip_rows = max(1, _SKIP_BYTES // stride)
    steps = np.diff(places)
    # A span is consecutive in the file and in `out`: one buffer. Spans that are close share one call.
    apart = (steps != 1) | (np.diff(targets) != 1) | (stride != size)
    starts = np.flatnonzero(np.concatenate([[True], apart]))
    ends = np.append(starts[1:], len(places))
    gaps = np.append(places[starts[1:]] - places[ends[:-1] - 1] - 1, -1).tolist()  # rows behind each span
    raw = out.reshape(-1).view(np.uint8).data
    nobody = memoryview(bytearray((skip_rows + 1) * stride))
    buffers: list[Any] = []
    begun = 0
    spans = zip(places[starts].tolist(), targets[starts].tolist(), (ends - starts).tolist(), gaps, strict=True)
    for place, target, count, gap in spans:
        if not buffers:
            begun = place
        buffers.append(raw[target * size : (target + count) * size])
        if 0 <= gap <= skip_rows and len(buffers) < _MOST_BUFFERS:
            if between := gap * stride + stride - size:
                buffers.append(nobody[:between])
        else:
            _read_into(segment, begun, buffers, (place + count - 1 - begun) * stride + size)
            buffers = []


def _read_into(segment: Segment, row: int, buffers: list[Any], size: int) -> None:
    """Fill buffers, `size` bytes together, one after the other with what stands from the bottleneck of `row` on."""
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
    offset = segment.bottleneck_offset(row)
    os.posix_fadvise(
        segment.descriptor, offset, segment.bottleneck_offset(row + count) - offset, os.POSIX_FADV_WILLNEED
    )


def bad_bottlenecks(segment: Segment, entries: NDArray[Any], block_rows: int = 512) -> NDArray[np.bool_]:
    """Which of the first n bottlenecks do not fit their entries [n]; reads all, a block at a time. Raises OSError."""
    bad = np.zeros(len(entries), np.bool_)
    size = segment.layout.bottleneck_bytes
    block = np.empty((min(block_rows, max(1, len(entries))), size), np.uint8)
    for first in range(0, len(entries), block_rows):
        part = entries[first : first + block_rows]
        gather(segment, np.arange(first, first + len(part)), np.arange(len(part)), block)
        bad[first : first + len(part)] = checksums(block[: len(part)]) != part["bottleneck_crc"]
    return bad


def write_rows(segment: Segment, records: NDArray[Any], start: int, *, fill: bool = False) -> int:
    """Write sealed records [n] from row `start` on; the bytes written, in whole pages. Raises OSError. Not synced.

    With `fill`, zeros are written ahead: a write to space that was never written costs an entry in the file
    system's journal, which for single records is more than the zeros.
    """
    if segment.interleaved:
        offset, raw = segment.entry_offset(start), records.tobytes()
    else:
        offset = segment.bottleneck_offset(start)
        raw = np.ascontiguousarray(records["bottleneck"]).view(np.uint8).tobytes()
    end = offset + len(raw)
    if fill and end > segment.filled:
        ahead = min(-(-end // FILL_BYTES) * FILL_BYTES, segment.size_bytes)
        raw += bytes(ahead - end)
        segment.filled = ahead
    pwrite(segment.descriptor, raw, offset)
    if segment.interleaved:
        return page_bytes(offset, len(raw))
    entries = np.ascontiguousarray(records["stored"]).tobytes()
    pwrite(segment.descriptor, entries, segment.entry_offset(start))
    return page_bytes(offset, len(raw)) + page_bytes(segment.entry_offset(start), len(entries))


def write_entries(segment: Segment, entries: NDArray[Any], rows: list[int]) -> None:
    """Put entries [n] into rows, whatever their bottlenecks are. Raises OSError. Not synced."""
    stored = np.zeros(len(rows), STORED_ENTRY)
    stored["entry"], stored["crc"] = entries, checksums(entries)
    for row, raw in zip(rows, stored, strict=True):
        pwrite(segment.descriptor, raw.tobytes(), segment.entry_offset(row))


def clear_entries(segment: Segment, start: int, stop: int) -> None:
    """Turn the rows from `start` to `stop` back into waiting space. Raises OSError. Not synced."""
    for row in range(start, stop):
        pwrite(segment.descriptor, bytes(STORED_ENTRY.itemsize), segment.entry_offset(row))


def page_bytes(offset: int, size: int) -> int:
    """What a write of `size` bytes at `offset` costs in whole pages."""
    return (-(-(offset + size) // PAGE_BYTES) - offset // PAGE_BYTES) * PAGE_BYTES
