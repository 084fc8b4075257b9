"""What people say of frames: kept once, counted once."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.cache import Cache, Layout
from agent.errors import SimilarLabelError, UnknownFrameError
from agent.learning.running.retraining import Retraining
from agent.records import Example, Result, Seen
from agent.region import Cut
from agent.reporting.announcer import Announcer
from agent.reporting.timing import Timings
from agent.service.recent import RecentFrames
from agent.service.teaching import Teaching

LAYOUT = Layout.of("0" * 32, 4, "uint8", 0.5, 3)


class Begun(Retraining):
    """Counts how often it was begun, and starts no process."""

    count = 0

    def start(self, **callbacks: Any) -> None:
        self.count += 1


class Board:
    """What teaching works with."""

    def __init__(self, folder: Path, retrain_after: int) -> None:
        self.cache = Cache(folder / "cache", LAYOUT)
        self.recent = RecentFrames(10)
        self.retraining = Begun(folder, [])
        self.timings = Timings(node="test", runtime="none")
        self.teaching = Teaching(
            self.cache,
            self.recent,
            self.retraining,
            self.timings,
            Announcer(None),
            on_head=lambda: None,
            retrain_after=retrain_after,
        )

    def see(self, number: int) -> str:
        """A frame that can be labelled; its id."""
        frame_id = f"{number:016x}"
        result = Result(frame_id, "door", 1_700_000_000_000 + 100_000 * number, None, (), True)
        bottleneck = np.full(4, number, np.uint8)
        fingerprint = int(np.random.default_rng(number).integers(0, 1 << 63))
        self.recent.remember([Seen(result, bottleneck, fingerprint)])
        return frame_id


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    board = Board(tmp_path, retrain_after=3)
    yield board
    board.cache.close()


def test_a_label_said_again_is_neither_written_nor_counted(board: Board) -> None:
    frame_id = board.see(1)
    board.teaching.label(board.see(2), "paper")
    assert board.teaching.label(frame_id, " glass ") == "glass"
    before = board.cache.status()["written_bytes"]
    for _ in range(5):
        assert board.teaching.label(frame_id, "glass") == "glass"
    assert board.cache.status()["written_bytes"] == before
    assert board.retraining.count == 0, "two labels were said, and three set it off"
    assert [report.count for report in board.timings.since_start()] == [2]


def test_a_changed_label_is_written_and_counted(board: Board) -> None:
    frame_id = board.see(1)
    board.teaching.label(board.see(2), "paper")
    for label in ("glass", "paper", "glass"):
        board.teaching.label(frame_id, label)
    assert board.teaching.label_counts() == {"paper": 1, "glass": 1}
    assert board.retraining.count == 1


def test_a_frame_that_is_not_remembered_can_only_be_labelled_where_it_is_an_example(board: Board) -> None:
    frame_id = board.see(1)
    board.teaching.label(frame_id, "glass")
    board.recent.forget(frame_id)
    assert board.teaching.label(frame_id, "paper") == "paper"
    for unknown in ("0" * 16, "what?"):
        with pytest.raises(UnknownFrameError, match="send the picture again"):
            board.teaching.label(unknown, "paper")


def test_a_new_label_that_may_be_a_slip_is_asked_about_and_taken_from_who_insists(board: Board) -> None:
    board.teaching.label(board.see(1), "glass")
    frame_id = board.see(2)
    for slip in ("glas", "Glass", "g lass", "gl\u0430ss"):
        with pytest.raises(SimilarLabelError, match="did you mean 'glass'.*new"):
            board.teaching.label(frame_id, slip)
        with pytest.raises(SimilarLabelError, match="did you mean 'glass'"):
            board.teaching.label(board.see(1), slip)
    assert board.teaching.label_counts() == {"glass": 1}
    assert board.teaching.label(frame_id, "gla\u200bss ") == "glass"
    assert board.teaching.label(frame_id, "glas", new=True) == "glas"
    assert board.teaching.label(board.see(3), "glas") == "glas", "it is known by now"


def test_a_label_is_not_renamed_to_what_may_be_a_slip_but_may_be_spelt_otherwise(board: Board) -> None:
    board.teaching.label(board.see(1), "glass")
    board.teaching.label(board.see(2), "bottle")
    with pytest.raises(SimilarLabelError, match="did you mean 'glass'"):
        board.teaching.rename_label("bottle", "glas")
    assert board.teaching.rename_label("glass", "Glass") == ("Glass", 1)
    assert board.teaching.rename_label("bottle", "glass", new=True) == ("glass", 1)


def test_what_looks_like_a_picture_of_val_is_kept_and_held_back(tmp_path: Path) -> None:
    look = int(np.random.default_rng(1).integers(1 << 62, 1 << 63))
    with Cache(tmp_path / "cache", LAYOUT) as cache:
        cache.append([Example("f" * 16, "glass", np.zeros(4, np.uint8), 1, split="val", split_said=True, group=look)])
    board = Board(tmp_path, retrain_after=3)
    frame_id = board.see(1)
    seen = board.recent.get(frame_id, "", Cut())
    assert seen is not None
    board.recent.remember([replace(seen, fingerprint=look)])
    assert board.teaching.label(frame_id, "glass") == "glass"
    assert board.teaching.status()["held_back"] == 1
    assert board.teaching.label_counts() == {"glass": 2}
    board.cache.close()
