"""A cache against a plain dict, through everything that can happen to it."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agent.cache import Cache, compaction
from agent.cache.checking import check
from agent.cache.flash import segment
from agent.records import Example
from tests.cache.crashing import Killed, abandon, killed_at
from tests.cache.test_cache import LAYOUT, labels

FRAMES = st.integers(0, 60)
LABELS = st.sampled_from(["a", "b", "c", "ß"])
Model = dict[str, str]


def example(frame: int, label: str) -> Example:
    return Example(f"{frame:016x}", label, np.full(LAYOUT.size, frame, np.uint8), frame)


class CacheMachine(RuleBasedStateMachine):
    """The model: the label of each frame."""

    @initialize()
    def begin(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(segment, "TARGET_BYTES", 0)
        self.patch.setattr(compaction, "FRESH_SEGMENTS", 2)
        self.folder = Path(tempfile.mkdtemp())
        self.cache = Cache(self.folder, LAYOUT)
        self.model: Model = {}
        self.crash: int | None = None

    def teardown(self) -> None:
        if hasattr(self, "cache"):
            self.cache.close()
            assert check(self.folder) == []
            shutil.rmtree(self.folder)
            self.patch.undo()

    def change(self, action: Callable[[], object], after: Model) -> None:
        """Do something. After a crash within it the cache, opened again, holds what was or what was to be."""
        if self.crash is None:
            action()
            self.model = after
            return
        try:
            with killed_at(self.crash):
                action()
        except Killed:
            abandon(self.cache)
            self.cache = Cache(self.folder, LAYOUT)
            found = labels(self.cache)
            frames = {frame for frame in self.model.keys() | after.keys()}
            assert all(found.get(frame) in (self.model.get(frame), after.get(frame)) for frame in frames)
            assert found.keys() <= frames
            self.model = found
        else:
            self.model = after
        self.crash = None

    @rule(call=st.integers(0, 12))
    def crash_soon(self, call: int) -> None:
        self.crash = call

    @rule(frames=st.lists(FRAMES, min_size=1, max_size=24), label=LABELS)
    def append(self, frames: list[int], label: str) -> None:
        added = [example(frame, label) for frame in frames]
        self.change(lambda: self.cache.append(added), self.model | {e.frame_id: e.label for e in added})

    @rule(frame=FRAMES, label=LABELS)
    def relabel(self, frame: int, label: str) -> None:
        name = f"{frame:016x}"
        if name in self.model:
            self.change(lambda: self.cache.relabel(name, label), self.model | {name: label})

    @rule(frames=st.lists(FRAMES, max_size=20))
    def delete(self, frames: list[int]) -> None:
        names = [f"{frame:016x}" for frame in frames]
        after = {name: label for name, label in self.model.items() if name not in names}
        self.change(lambda: self.cache.delete(names), after)

    @rule(label=LABELS)
    def delete_label(self, label: str) -> None:
        if label in self.model.values():
            after = {name: other for name, other in self.model.items() if other != label}
            self.change(lambda: self.cache.delete_label(label), after)

    @rule(label=LABELS, new=LABELS)
    def rename(self, label: str, new: str) -> None:
        if label in self.model.values():
            after = {name: new if other == label else other for name, other in self.model.items()}
            self.change(lambda: self.cache.rename_label(label, new), after)

    @rule()
    def compact(self) -> None:
        self.change(self.cache.compact, self.model)

    @rule()
    def reopen(self) -> None:
        self.crash = None
        self.cache.close()
        self.cache = Cache(self.folder, LAYOUT)

    @invariant()
    def the_cache_holds_what_the_model_holds(self) -> None:
        if hasattr(self, "cache"):
            assert labels(self.cache) == self.model
            with_rows = self.cache.examples()
            rows = with_rows.read(np.arange(with_rows.count), np.empty((with_rows.count, LAYOUT.size), np.uint8))
            assert (rows == with_rows.frame_ids[:, None].astype(np.uint8)).all()
            assert with_rows.rotten == []
            assert len(self.cache) == len(self.model)


TestCacheModel = CacheMachine.TestCase
TestCacheModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
