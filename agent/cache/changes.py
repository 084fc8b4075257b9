"""What is said beside the records: journalled, and only then true in memory."""

from pathlib import Path

from agent.cache import bookkeeping
from agent.cache.contents import Contents
from agent.cache.flash import segment_io
from agent.cache.flash.journal import Entry, Journal, read
from agent.cache.flash.layout import PAGE_BYTES
from agent.cache.flash.wear import Wear
from agent.errors import StateError


class Changes:
    """All with the lock of the cache held; all raise OSError where the journal cannot be written."""

    def __init__(self, path: Path, contents: Contents, wear: Wear) -> None:
        self._path = path
        self._contents = contents
        self._wear = wear
        self._journal = Journal(path, contents.journal_end)

    @property
    def journal_bytes(self) -> int:
        return self._journal.end

    def next_sequence(self) -> int:
        if self._contents.sequence >= 1 << 32:
            raise StateError(f"{self._path}: the cache was changed four billion times: start a new one")
        self._contents.sequence += 1
        return self._contents.sequence - 1

    def say(self, entry: Entry) -> None:
        """Something about records that are there."""
        numbered = {"op": entry["op"], "seq": self.next_sequence(), **entry}
        self.write(numbered)
        bookkeeping.apply(self._contents.parts, [numbered])

    def write(self, entry: Entry) -> None:
        """Something about names."""
        before = self._journal.end
        self._journal.append(entry)
        self._wear.wrote(segment_io.page_bytes(before, self._journal.end - before))
        self._contents.names.apply(entry)

    def index(self, name: str, kind: str) -> int:
        """The number of a label or camera; a new name is on flash before any record can carry its number."""
        known = self._contents.names.of_kind(kind)
        if name not in known:
            free = self._contents.names.free(kind)
            if free is None:
                raise StateError(f"{self._path}: the cache holds {len(known)} {kind}s, and no more fit")
            self.write({"op": kind, kind: free, "name": name})
        return self._contents.names.of_kind(kind)[name]

    def shorten(self) -> None:
        """Drop what the records on flash say themselves by now, if that is most of it, or a line is damaged."""
        entries, damaged, _, _ = read(self._path)
        parts = self._contents.parts
        said = bookkeeping.still_said(parts, entries)
        of_entries = {entry[key] for entry in said for key in ("label", "into") if key in entry}
        labels, cameras = bookkeeping.numbers_in_use(parts)
        left = self._contents.names.only(labels | of_entries, cameras)
        kept = [*left.as_entries(), *said]
        if damaged or 2 * len(kept) < len(entries):
            self._journal.replace(kept)
            # Only now: as long as the journal names a label, its number is not free.
            self._contents.names = left
            self._wear.wrote(segment_io.page_bytes(0, self._journal.end) + PAGE_BYTES)

    def close(self) -> None:
        self._journal.close()
