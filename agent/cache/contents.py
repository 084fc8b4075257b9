"""What a cache holds, in memory: the parts, the names, and the numbers that are free."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.cache import bookkeeping
from agent.cache.flash.journal import Entry
from agent.cache.part import SAID, Part
from agent.learning.pictures.bursts import Bursts
from agent.learning.pictures.sides import set_aside, sides
from agent.learning.training.examples import HELD_BACK
from agent.records import SPLITS, Split

MOST_NAMES = 1 << 16  # of labels, and of cameras


class Names:
    """Labels and cameras, with the numbers that records carry; each in the order in which they came."""

    def __init__(self) -> None:
        self.labels: dict[str, int] = {}
        self.cameras: dict[str, int] = {}
        self._nameless: dict[str, set[int]] = {"label": set(), "camera": set()}

    def apply(self, entry: Entry) -> None:
        """Let an entry of the journal take effect; entries about other things are passed."""
        if entry["op"] == "label":
            self.labels[entry["name"]] = entry["label"]
        elif entry["op"] == "camera":
            self.cameras[entry["name"]] = entry["camera"]
        elif entry["op"] == "rename":
            self.labels = {
                entry["name"] if index == entry["label"] else name: index for name, index in self.labels.items()
            }

    def reserve(self, labels: set[int], cameras: set[int]) -> None:
        """Records carry these. Where the line with the name is lost, nothing else may be called by the number."""
        self._nameless = {"label": labels - {*self.labels.values()}, "camera": cameras - {*self.cameras.values()}}

    def of_kind(self, kind: str) -> dict[str, int]:
        return self.labels if kind == "label" else self.cameras

    def free(self, kind: str) -> int | None:
        """The number of the next name; None where all are taken."""
        taken = {*self.of_kind(kind).values(), *self._nameless[kind]}
        following = max(taken, default=-1) + 1
        return following if following < MOST_NAMES else min(set(range(MOST_NAMES)) - taken, default=None)

    def by_label(self) -> dict[int, str]:
        return {index: name for name, index in self.labels.items()}

    def only(self, labels: set[int], cameras: set[int]) -> "Names":
        """Those of these numbers."""
        left = Names()
        left.labels = {name: index for name, index in self.labels.items() if index in labels}
        left.cameras = {name: index for name, index in self.cameras.items() if index in cameras}
        left.reserve(labels, cameras)
        return left

    def as_entries(self) -> list[Entry]:
        labels = [{"op": "label", "label": index, "name": name} for name, index in self.labels.items()]
        return labels + [{"op": "camera", "camera": index, "name": name} for name, index in self.cameras.items()]


@dataclass
class Contents:
    """Guarded by the lock of the cache, like all that hangs on it."""

    parts: list[Part]
    names: Names
    sequence: int  # the lowest that is free
    number: int  # likewise, of a segment
    torn: int
    rotten: int
    journal_end: int  # in bytes, as it was opened

    @property
    def bytes(self) -> int:
        return sum(part.segment.size_bytes for part in self.parts)

    @property
    def count(self) -> int:
        return sum(int(part.usable().sum()) for part in self.parts)

    @property
    def room(self) -> int:
        """Records that can be appended without a new segment."""
        return sum(part.segment.capacity - part.used for part in self.parts if not part.segment.compacted)

    def label_of(self, frame_id: str) -> str | None:
        """The label of a frame; None where no example has that frame id."""
        for part, rows in bookkeeping.usable_rows(self.parts, np.array([int(frame_id, 16)], np.uint64)):
            index = int(part.entries["label"][rows[0]])
            return next(name for name, number in self.names.labels.items() if number == index)
        return None

    def split_of(self, frame_id: str) -> tuple[Split, bool] | None:
        """The split that was decided for a frame when it came, and whether somebody said it; None as above."""
        for part, rows in bookkeeping.usable_rows(self.parts, np.array([int(frame_id, 16)], np.uint64)):
            entry = part.entries[rows[0]]
            return SPLITS[int(entry["split"])], bool(entry["flags"] & SAID)
        return None

    def frame_ids(self, since_ms: int) -> NDArray[np.uint64]:
        chosen = [part.usable() & (part.column("received_ms") >= since_ms) for part in self.parts]
        found = [part.column("frame_id")[rows] for part, rows in zip(self.parts, chosen, strict=True)]
        return np.concatenate([np.zeros(0, np.uint64), *found])

    def latest_ms(self) -> int:
        return max((int(part.column("received_ms").max(initial=0)) for part in self.parts), default=0)

    def label_counts(self) -> dict[str, int]:
        counts = bookkeeping.label_counts(self.parts, MOST_NAMES)
        return {label: int(counts[index]) for label, index in self.names.labels.items() if counts[index]}

    def groups(self) -> NDArray[np.uint64]:
        groups = [np.unique(part.column("group")[part.usable()]) for part in self.parts]
        every = np.concatenate([np.zeros(0, np.uint64), *groups])
        return np.unique(every[every != 0])

    def bursts(self) -> Bursts:
        """The groups of all examples, and where each camera last saw each label."""
        cameras = {index: name for name, index in self.names.cameras.items()}
        labels = self.names.by_label()
        last: dict[tuple[str, str], tuple[int, int]] = {}
        for part in self.parts:
            entries = part.entries[: part.used][part.usable() & (part.column("group") != 0)]
            latest = entries[np.argsort(entries["received_ms"], kind="stable")]
            for camera, label in np.unique(latest[["camera", "label"]]).tolist():
                of_pair = latest[(latest["camera"] == camera) & (latest["label"] == label)][-1]
                seen = cameras.get(camera, ""), labels.get(label, "")
                found = int(of_pair["received_ms"]), int(of_pair["group"])
                last[seen] = max(found, last.get(seen, found))
        return Bursts(self.groups(), {seen: found for seen, found in last.items() if seen[0]}, self.set_aside())

    def set_aside(self) -> NDArray[np.uint64]:
        """The groups [m] that somebody put into val or test."""
        return set_aside(*self._sides())

    def held_back(self) -> int:
        """How many examples are kept out of training, because they look like those of val or test."""
        groups, splits, said = self._sides()
        if not len(set_aside(groups, splits, said)):
            return 0
        return int(np.count_nonzero(sides(groups, splits, said) == HELD_BACK))

    def _sides(self) -> tuple[NDArray[np.uint64], NDArray[np.uint8], NDArray[np.bool_]]:
        """The groups [n] of all examples, their splits as they were decided when they came, and which were said."""
        usable = [part.usable() for part in self.parts]

        def column(name: str, dtype: type) -> NDArray[Any]:
            found = [part.column(name)[rows] for part, rows in zip(self.parts, usable, strict=True)]
            return np.concatenate([np.zeros(0, dtype), *found])

        return column("group", np.uint64), column("split", np.uint8), (column("flags", np.uint8) & SAID) != 0

    def split_counts(self) -> dict[str, dict[str, int]]:
        counts = np.zeros((MOST_NAMES, len(SPLITS)), np.int64)
        for part in self.parts:
            usable = part.usable()
            np.add.at(counts, (part.column("label")[usable], part.column("split")[usable]), 1)
        return {
            label: dict(zip(SPLITS, counts[index].tolist(), strict=True))
            for label, index in self.names.labels.items()
            if counts[index].any()
        }
