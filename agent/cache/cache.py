"""The cache: the examples on flash. docs/cache.md describes its files.

One process writes (a lock that dies with it sees to that), any number read.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.cache import opening
from agent.cache.appending import Appender
from agent.cache.asking import Askable
from agent.cache.changes import Changes
from agent.cache.flash.layout import Layout
from agent.cache.flash.wear import Wear, years
from agent.cache.part import FINITE, SAID
from agent.cache.space import Space
from agent.config import CacheConfig
from agent.errors import StateError, UnknownFrameError, UnknownLabelError
from agent.records import SPLITS, Example

_STOP_S = 5.0


class _Writer(NamedTuple):
    """What only the process has that writes."""

    changes: Changes
    space: Space
    appender: Appender


class Cache(Askable):
    """Examples in a folder: appended, never rewritten in place.

    What writes returns when it is on flash (but see CacheConfig.sync_records), and raises StateError, having changed
    nothing, where it cannot be written. Thread-safe.
    """

    def __init__(self, folder: Path, layout: Layout, config: CacheConfig | None = None) -> None:
        """Open the cache in `folder` for reading and writing, or make it.

        One that an earlier version began in float16 goes on in it. Raises MismatchError for a cache of another
        backbone, BusyError while another process writes it, StateError where it cannot be read or written.
        """
        self._open(folder, opening.as_begun(folder, layout), config or CacheConfig(), readonly=False)

    @classmethod
    def read(cls, folder: Path) -> "Cache":
        """A cache for reading only, of whatever layout, also while another process writes it.

        Raises StateError where there is none, or it cannot be read.
        """
        cache = cls.__new__(cls)
        cache._open(folder, opening.first_layout(folder), CacheConfig(), readonly=True)
        return cache

    @classmethod
    def existing(cls, folder: Path, config: CacheConfig | None = None) -> "Cache":
        """A cache that must be there, of whatever layout, for reading and writing. Raises as Cache() does."""
        return cls(folder, opening.first_layout(folder), config)

    def _open(self, folder: Path, layout: Layout, config: CacheConfig, *, readonly: bool) -> None:
        self._config = config
        self._writer: _Writer | None = None
        self._held: int | None = None
        try:
            if not readonly:
                folder.mkdir(parents=True, exist_ok=True)
                self._held = opening.locked(folder / "lock")
            contents = (opening.read_only if readonly else opening.for_writing)(folder, layout)
            super().__init__(folder, layout, contents)
            self.wear = Wear(folder / "wear.json")
            if not readonly:
                changes = Changes(folder / "journal", contents, self.wear)
                space = Space(folder, layout, config, contents, changes, self.wear, self._lock)
                appender = Appender(self._lock, self.wear, config.sync_records, config.sync_ms)
                self._writer = _Writer(changes, space, appender)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError) and not isinstance(error, StateError):
                raise StateError(f"the cache {folder} cannot be opened: {error.strerror or error}") from error
            raise

    def __enter__(self) -> "Cache":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def status(self) -> dict[str, Any]:
        """Figures that cost next to nothing to gather."""
        with self._lock:
            return {
                "segments": len(self._contents.parts),
                "bytes": self._contents.bytes,
                "max_bytes": self._config.max_bytes,
                "torn": self.torn,
                "rotten": self.rotten,
                "compactions": self._writer.space.compactions if self._writer else 0,
                **(written := self.wear.status()),
                "years": years(self._config.endurance_tbw, written["written_per_day_bytes"]),
            }

    def count_written(self, size: int) -> None:
        """Add what somebody else wrote to flash for it: heads, and what retrainings keep."""
        with self._lock:
            self.wear.wrote(size)

    def append(self, examples: Sequence[Example]) -> None:
        """Add examples; one of a frame that is there already takes its place.

        Raises StateError where they cannot be written, and BottleneckError for one that cannot be kept (see
        Layout.encoded, which whoever has many asks before); then none was added.
        """
        latest = list({example.frame_id: example for example in examples}.values())
        with self._writing() as writer:
            writer.space.make_room(len(latest))
            with self._lock:
                records = self._encoded(latest, writer.changes)
                writer.space.reserve(len(records))
                ticket = writer.appender.write(self._contents.parts, records)
            writer.appender.commit(ticket)

    def relabel(self, frame_id: str, label: str) -> bool:
        """Say another label of an example; whether it was another: the one that it has is not written again.

        Raises UnknownFrameError where no example has that frame id.
        """
        with self._writing() as writer:
            with self._lock:
                known = self.label_of(frame_id)
                if known is None:
                    raise UnknownFrameError(f"no example has the frame id {frame_id}")
                if known != label:
                    index = writer.changes.index(label, "label")
                    writer.changes.say({"op": "relabel", "frame_ids": [frame_id], "label": index})
                    return True
                ticket = writer.appender.pending()
            if ticket is not None:  # it may have come a moment ago
                writer.appender.commit(ticket)
            return False

    def delete(self, frame_ids: Sequence[str]) -> int:
        """Remove the examples of these frames; how many there were."""
        with self._writing() as writer, self._lock:
            known = [frame_id for frame_id in frame_ids if frame_id in self]
            if known:
                writer.changes.say({"op": "delete", "frame_ids": known})
            return len(known)

    def delete_label(self, label: str) -> int:
        """Remove all examples of a label; how many there were. Raises UnknownLabelError where there is none."""
        with self._writing() as writer, self._lock:
            count = self._count_of(label)
            writer.changes.say({"op": "delete_label", "label": self._contents.names.labels[label]})
            return count

    def rename_label(self, label: str, new: str) -> int:
        """Call a label something else, or merge it with the one of that name; how many examples it had.

        Raises UnknownLabelError where no example has that label.
        """
        with self._writing() as writer, self._lock:
            count = self._count_of(label)
            if new == label:
                return count
            labels = self._contents.names.labels
            if new in labels:
                writer.changes.say({"op": "merge", "label": labels[label], "into": labels[new]})
            else:
                writer.changes.write({"op": "rename", "label": labels[label], "name": new})
            return count

    def sync(self) -> None:
        """Returns when all is on flash. Raises StateError."""
        with self._writing() as writer:
            writer.appender.sync()

    def compact(self, should_stop: Callable[[], bool] = lambda: False) -> bool:
        """Compact some segments, if that is worth it and within the day's budget; whether it was done.

        Raises StateError where it cannot be written; nothing is lost then.
        """
        with self._writing() as writer:
            return writer.space.compact(should_stop)

    def close(self) -> None:
        """Idempotent. Views of the examples stay readable. Raises StateError where the last sync fails."""
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.appender.stop(_STOP_S)
                self.wear.save(now=True)
        finally:
            if writer is not None:
                writer.changes.close()
            if self._held is not None:
                os.close(self._held)
                self._held = None

    @contextmanager
    def _writing(self) -> Iterator[_Writer]:
        """Raises StateError where this cache is for reading, or flash refuses."""
        if self._writer is None:
            raise StateError(f"the cache {self._folder} was opened for reading only, or is closed")
        try:
            yield self._writer
        except StateError:
            raise
        except OSError as error:
            raise StateError(f"the cache {self._folder} cannot be written: {error.strerror or error}") from error

    def _encoded(self, examples: Sequence[Example], changes: Changes) -> NDArray[Any]:
        records = np.zeros(len(examples), self.layout.record)
        entries, sequence = records["stored"]["entry"], changes.next_sequence()
        for row, example in enumerate(examples):
            label = changes.index(example.label, "label")
            camera = changes.index(example.camera, "camera")
            split, flags = SPLITS.index(example.split), FINITE | (SAID if example.split_said else 0)
            frame_id = int(example.frame_id, 16)
            entries[row] = (
                frame_id, example.received_ms, example.group, sequence, 0, label, camera, split, flags, b""
            )  # fmt: skip
            records["bottleneck"][row] = self.layout.encoded(example.bottleneck)
        return records

    def _count_of(self, label: str) -> int:
        count = self.label_counts().get(label, 0)
        if not count:
            known = list(self.label_counts())
            there = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
            raise UnknownLabelError(f"no example has the label {label!r}; there are: {there or 'none yet'}")
        return count
