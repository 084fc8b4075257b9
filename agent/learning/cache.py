"""The cache: the examples on flash. docs/cache.md describes its files.

One process writes (a lock that dies with it sees to that), any number read.
"""

import fcntl
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import BusyError, StateError, UnknownFrameError
from agent.files import sync_folder
from agent.learning import journal, segment
from agent.learning.examples import lent
from agent.learning.segment import Layout, Segment
from agent.records import SPLITS, Example

log = logging.getLogger(__name__)

MAX_LABELS = MAX_CAMERAS = 1 << 16


class Cache:
    """Examples in a folder: appended, never rewritten.

    `append` and `relabel` return when what they were given is on flash, and raise
    StateError, having changed nothing, where it cannot be written. Attributes:
    `torn` and `rotten` count the records that were cut off or skipped when it was opened.
    Used by one thread at a time.
    """

    def __init__(self, folder: Path, layout: Layout) -> None:
        """Open the cache in `folder` for reading and writing, or make it.

        Raises MismatchError for a cache of another backbone, BusyError while another
        process writes it, StateError where it cannot be read or written.
        """
        self._open(folder, layout, readonly=False)

    @classmethod
    def read(cls, folder: Path) -> "Cache":
        """A cache for reading only, of whatever layout, also while another process writes it.

        Raises StateError where there is none, or it cannot be read.
        """
        paths = sorted(folder.glob("*.seg"))
        if not paths:
            raise StateError(f"{folder} holds no examples yet")
        try:
            first = segment.open_segment(paths[0], readonly=True)
        except StateError:
            raise
        except OSError as error:
            raise StateError(f"{paths[0]} cannot be read: {error.strerror or error}") from error
        os.close(first.descriptor)
        cache = cls.__new__(cls)
        cache._open(folder, first.layout, readonly=True)
        return cache

    def _open(self, folder: Path, layout: Layout, *, readonly: bool) -> None:
        self.layout = layout
        self.torn = self.rotten = 0
        self._folder = folder
        self._readonly = readonly
        self._segments: list[Segment] = []
        self._labels: dict[str, int] = {}
        self._cameras: dict[str, int] = {}
        self._records = _Records()
        self._lock: int | None = None
        self._journal: journal.Journal | None = None
        try:
            if not readonly:
                folder.mkdir(parents=True, exist_ok=True)
                self._lock = _locked(folder / "lock")
            self._load_segments()
            self._load_journal()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError) and not isinstance(error, StateError):
                raise StateError(f"the cache {folder} cannot be opened: {error.strerror or error}") from error
            raise

    def __enter__(self) -> "Cache":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return int(self._records.usable().sum())

    def __contains__(self, frame_id: str) -> bool:
        return bool((self._records.view("frame_id") == int(frame_id, 16)).any())

    def labels_by_frame(self) -> dict[str, str]:
        """The label of every frame id that is in the cache."""
        names = {index: label for label, index in self._labels.items()}
        usable = self._records.usable()
        frame_ids = self._records.view("frame_id")[usable].tolist()
        labels = self._records.view("label")[usable].tolist()
        return {f"{number:016x}": names[index] for number, index in zip(frame_ids, labels, strict=True)}

    def label_counts(self) -> dict[str, int]:
        """Examples of each label, in the order in which the labels came."""
        counts = np.bincount(self._records.view("label")[self._records.usable()], minlength=MAX_LABELS)
        return {label: int(counts[index]) for label, index in self._labels.items() if counts[index]}

    def append(self, examples: Sequence[Example]) -> None:
        """Add examples. Raises StateError where they cannot be written; then none was added."""
        try:
            records = self._encoded(examples)
            while len(records):
                records = records[self._append_to_segment(records) :]
        except StateError:
            raise
        except OSError as error:
            raise StateError(f"the cache {self._folder} cannot be written: {error.strerror or error}") from error

    def relabel(self, frame_id: str, label: str) -> None:
        """Say another label of an example. Raises UnknownFrameError where no example has that frame id."""
        rows = np.flatnonzero(self._records.view("frame_id") == int(frame_id, 16))
        if not len(rows):
            raise UnknownFrameError(f"no example has the frame id {frame_id}")
        try:
            index = self._index(self._labels, label, "label", MAX_LABELS)
            self._write_journal({"op": "relabel", "frame_id": frame_id, "label": index})
        except StateError:
            raise
        except OSError as error:
            raise StateError(f"the cache {self._folder} cannot be written: {error.strerror or error}") from error
        self._records.view("label")[rows] = index

    def examples(self) -> "CachedExamples":
        """All examples as a training reads them; a view that appends made later do not change.

        A label with few examples trains on those too that its hash put aside: see `lent`.
        """
        rows = np.flatnonzero(self._records.usable())
        used, indices = np.unique(self._records.view("label")[rows], return_inverse=True)
        targets = indices.astype(np.int32)
        splits = self._records.view("split")[rows]
        names = {index: label for label, index in self._labels.items()}
        return CachedExamples(
            self.layout,
            list(self._segments),
            self._records.places()[rows],
            tuple(names[index] for index in used.tolist()),
            targets,
            lent(targets, splits, fixed=self._records.view("split_said")[rows]),
        )

    def close(self) -> None:
        """Idempotent."""
        for opened in self._segments:
            os.close(opened.descriptor)
        self._segments = []
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # Opening

    def _load_segments(self) -> None:
        for path in sorted(self._folder.glob("*.seg")):
            opened = segment.open_segment(path, readonly=self._readonly)
            self._segments.append(opened)
            segment.check_layout(opened.layout, self.layout, path)
            found = segment.scan(opened)
            self._records.extend(len(self._segments) - 1, found.records, found.rotten)
            if len(found.rotten):
                self.rotten += len(found.rotten)
                log.warning("%s: %d rotten records are skipped: rows %s", path, len(found.rotten), found.rotten[:10])
            if found.torn and not self._readonly:  # to a reader it may be an append that is under way
                self.torn += found.torn
                log.warning("%s: %d torn records at the end are cut off", path, found.torn)
                segment.clear_rows(opened, len(found.records))

    def _load_journal(self) -> None:
        path = self._folder / "journal"
        entries, damaged, end = journal.read(path)
        if damaged:
            log.warning("%s: damaged lines are skipped: %s", path, damaged[:10])
            self.rotten += len(damaged)
        for entry in entries:
            self._apply(entry)
        nameless = ~np.isin(self._records.view("label"), list(self._labels.values()))
        self.rotten += int((nameless & self._records.usable()).sum())
        self._records.view("rotten")[nameless] = True
        if self._readonly:
            return
        self._journal = journal.Journal(path)
        if path.stat().st_size > end:
            log.warning("%s: a torn line at the end is cut off", path)
            self.torn += 1
            self._journal.cut(end)

    def _apply(self, entry: dict[str, Any]) -> None:
        if entry["op"] == "label":
            self._labels[entry["name"]] = entry["index"]
        elif entry["op"] == "camera":
            self._cameras[entry["name"]] = entry["index"]
        elif entry["op"] == "relabel":
            rows = self._records.view("frame_id") == int(entry["frame_id"], 16)
            self._records.view("label")[rows] = entry["label"]

    # Writing

    def _encoded(self, examples: Sequence[Example]) -> NDArray[Any]:
        records = np.zeros(len(examples), self.layout.record)
        for row, example in enumerate(examples):
            record = records[row]
            record["label"] = self._index(self._labels, example.label, "label", MAX_LABELS)
            record["camera"] = self._index(self._cameras, example.camera, "camera", MAX_CAMERAS)
            record["received_ms"] = example.received_ms
            record["frame_id"] = int(example.frame_id, 16)
            record["split"] = SPLITS.index(example.split)
            record["split_said"] = example.split_said
            record["bottleneck"] = self.layout.encoded(example.bottleneck)
        records["crc"] = segment.checksums(records)
        return records

    def _index(self, names: dict[str, int], name: str, kind: str, limit: int) -> int:
        """The number of a name; a new name is on flash before any record can carry its number."""
        if name not in names:
            if len(names) >= limit:
                raise StateError(f"the cache {self._folder} holds {limit} {kind}s, and no more fit")
            index = max(names.values(), default=-1) + 1
            self._write_journal({"op": kind, "index": index, "name": name})
            names[name] = index
        return names[name]

    def _write_journal(self, entry: dict[str, Any]) -> None:
        if self._journal is None:
            raise StateError(f"the cache {self._folder} was opened for reading only")
        self._journal.append(entry)

    def _append_to_segment(self, records: NDArray[Any]) -> int:
        """Append as many records as the last segment takes; how many that were."""
        used = self._records.in_segment(len(self._segments) - 1)
        if not self._segments or used >= self._segments[-1].capacity:
            self._segments.append(segment.create(self._folder / f"{len(self._segments) + 1:08d}.seg", self.layout))
            sync_folder(self._folder)
            used = 0
        last = self._segments[-1]
        fitting = records[: last.capacity - used]
        segment.write_rows(last, fitting, used)
        self._records.extend(len(self._segments) - 1, fitting, np.empty(0, np.int64))
        return len(fitting)


class CachedExamples:
    """The examples of a cache as a training sees them (training.Examples), read from flash as they are asked for."""

    def __init__(
        self,
        layout: Layout,
        segments: list[Segment],
        places: NDArray[Any],
        labels: tuple[str, ...],
        targets: NDArray[np.int32],
        splits: NDArray[np.uint8],
    ) -> None:
        self._segments = segments
        self._places = places
        self.count = len(places)
        self.size = layout.size
        self.dtype = np.dtype(layout.dtype)
        self.labels = labels
        self.targets = targets  # [N] class indices into `labels`
        self.splits = splits  # [N] indices into records.SPLITS
        self.scale = layout.scale
        self.zero_point = layout.zero_point
        self.backbone_id = layout.backbone_id

    def read(self, rows: NDArray[np.int64], out: NDArray[Any]) -> NDArray[Any]:
        """Fill and return `out` [B, D] with the stored bottlenecks of `rows` [B], in any order.

        Raises StateError where flash cannot be read.
        """
        places = self._places[rows]
        try:
            for number in np.unique(places["segment"]):
                here = np.flatnonzero(places["segment"] == number)
                out[here] = self._from_segment(self._segments[number], places["row"][here])
        except OSError as error:
            raise StateError(f"the cache cannot be read: {error.strerror or error}") from error
        return out

    def _from_segment(self, opened: Segment, rows: NDArray[np.int64]) -> NDArray[Any]:
        first, last = int(rows.min()), int(rows.max())
        if len(rows) * 8 >= last - first:  # dense enough: one long read is cheaper than many short ones
            block = segment.read_rows(opened, first, last - first + 1)
            found: NDArray[Any] = block["bottleneck"][rows - first]
            return found
        return np.stack([segment.read_rows(opened, int(row), 1)["bottleneck"][0] for row in rows])


class _Records:
    """The bookkeeping of all records in memory, without bottlenecks: about 40 bytes each."""

    _DTYPE = np.dtype(
        [
            ("frame_id", "u8"),
            ("segment", "i4"),
            ("row", "i4"),
            ("label", "u2"),
            ("split", "u1"),
            ("split_said", "?"),
            ("rotten", "?"),
        ]
    )

    def __init__(self) -> None:
        self._array = np.empty(0, self._DTYPE)
        self._count = 0
        self._in_segment: dict[int, int] = {}

    def extend(self, number: int, records: NDArray[Any], rotten: NDArray[np.int64]) -> None:
        end = self._count + len(records)
        if end > len(self._array):
            grown = np.empty(max(end, 2 * len(self._array), 256), self._DTYPE)
            grown[: self._count] = self._array[: self._count]
            self._array = grown
        new = self._array[self._count : end]
        for name in ("frame_id", "label", "split", "split_said"):
            new[name] = records[name]
        new["segment"] = number
        new["row"] = np.arange(len(records)) + self.in_segment(number)
        new["rotten"] = False
        new["rotten"][rotten] = True
        self._count = end
        self._in_segment[number] = self.in_segment(number) + len(records)

    def in_segment(self, number: int) -> int:
        return self._in_segment.get(number, 0)

    def view(self, name: str) -> NDArray[Any]:
        column: NDArray[Any] = self._array[: self._count][name]
        return column

    def places(self) -> NDArray[Any]:
        return self._array[: self._count][["segment", "row"]]

    def usable(self) -> NDArray[np.bool_]:
        return ~self.view("rotten")


def _locked(path: Path) -> int:
    """Take the writer's lock; it goes with the process, however that ends. Raises BusyError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise BusyError(
            f"another process writes the cache {path.parent}: push pictures to the running daemon, or stop it first"
        ) from None
    return descriptor
