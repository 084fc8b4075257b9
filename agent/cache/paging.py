"""Examples in pages, for whoever takes them elsewhere."""

import logging

import numpy as np
from numpy.typing import NDArray

from agent.cache import segment_io
from agent.cache.bookkeeping import SAID, Part
from agent.cache.contents import Contents
from agent.cache.layout import Layout
from agent.records import SPLITS, Example

log = logging.getLogger(__name__)


def page(contents: Contents, layout: Layout, start: int, most: int) -> tuple[list[Example], int | None]:
    """The first `most` examples by their frame ids from `start` on, without rotten ones.

    With them, the frame id with which the next page begins; None behind the last. Raises OSError.
    """
    usable = [np.flatnonzero(part.usable()) for part in contents.parts]
    of_part = np.repeat(np.arange(len(usable)), [len(rows) for rows in usable])
    rows = np.concatenate([np.empty(0, np.int64), *usable])
    frame_ids = np.concatenate(
        [np.empty(0, np.uint64)]
        + [part.column("frame_id")[kept] for part, kept in zip(contents.parts, usable, strict=True)]
    )
    rest = np.flatnonzero(frame_ids >= np.uint64(start))
    ordered = rest[np.argsort(frame_ids[rest], kind="stable")]
    chosen = ordered[:most]
    found: dict[int, Example] = {}
    for number in np.unique(of_part[chosen]).tolist():
        found |= _read(contents, contents.parts[number], np.sort(rows[chosen[of_part[chosen] == number]]), layout)
    following = int(frame_ids[ordered[most]]) if len(ordered) > most else None
    return [found[frame_id] for frame_id in sorted(found)], following


def _read(contents: Contents, part: Part, rows: NDArray[np.int64], layout: Layout) -> dict[int, Example]:
    """The examples in these rows, by their frame ids."""
    labels = contents.names.by_label()
    cameras = {index: name for name, index in contents.names.cameras.items()}
    bottlenecks = np.empty((len(rows), layout.size), layout.dtype)
    segment_io.gather(part.segment, rows, np.arange(len(rows)), bottlenecks)
    found = {}
    for entry, bottleneck, crc in zip(part.entries[rows], bottlenecks, segment_io.checksums(bottlenecks), strict=True):
        frame_id = int(entry["frame_id"])
        if crc != entry["bottleneck_crc"]:
            log.warning("%s: the record of frame %016x is rotten; it is left out", part.segment.path, frame_id)
            continue
        found[frame_id] = Example(
            f"{frame_id:016x}",
            labels[int(entry["label"])],
            bottleneck,
            int(entry["received_ms"]),
            cameras.get(int(entry["camera"]), ""),
            SPLITS[int(entry["split"])],
            bool(entry["flags"] & SAID),
            int(entry["group"]),
        )
    return found
