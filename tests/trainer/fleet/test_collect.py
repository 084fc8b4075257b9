"""What comes together when boards say something of the same picture, or nearly the same of others."""

from pathlib import Path
from typing import Any

import numpy as np

from agent.cache import Cache, Layout
from agent.learning.training.examples import HELD_BACK
from agent.records import SPLITS, Example
from agent.state.parcels import Page
from trainer.fleet.boards import Board
from trainer.fleet.collect import Collected, collect

LAYOUT = Layout.of("0" * 32, 5, "int8", 0.5, 3)
LOOK = int(np.random.default_rng(1).integers(1 << 62, 1 << 63))


class Answering(Board):
    """A board of which all examples fit into a page."""

    def __init__(self, address: str, *examples: Example) -> None:
        super().__init__(address)
        self._examples = sorted(examples, key=lambda example: example.frame_id)

    def page(self, start: str) -> Page:
        return Page(self.address, LAYOUT, self._examples, None)

    def send_head(self, parcel: bytes) -> dict[str, Any]:
        raise NotImplementedError

    send_backbone = send_head


def example(number: int, label: str = "glass", **more: Any) -> Example:
    return Example(f"{number:016x}", label, np.zeros(5, np.int8), 1000, **more)


def collected(folder: Path, *boards: Board) -> Collected:
    return collect(boards, folder, {}, lambda board, page: None)


def sides(folder: Path) -> dict[int, str]:
    with Cache.read(folder) as cache:
        examples = cache.examples()
    names = {**dict(enumerate(SPLITS)), HELD_BACK: "held back"}
    return {id: names[side] for id, side in zip(examples.frame_ids.tolist(), examples.splits.tolist(), strict=True)}


def test_a_new_label_that_is_like_another_is_named_and_kept(tmp_path: Path) -> None:
    porch, shed = Answering("porch", example(1)), Answering("shed", example(2, "glas"), example(3, "Glass"))
    found = collected(tmp_path, porch, shed)
    assert (found.added, found.similar_labels, found.merged_labels) == (3, {"glas": "glass"}, {"Glass": "glass"})
    assert collected(tmp_path, porch, shed).similar_labels == {}, "it is known by now"


def test_what_one_board_put_into_val_does_not_train_because_another_board_saw_it_too(tmp_path: Path) -> None:
    aside: dict[str, Any] = {"split": "val", "split_said": True, "group": LOOK}
    porch = Answering(
        "porch", example(1, group=LOOK), example(2, group=LOOK ^ 7), example(3, group=~LOOK & (2**63 - 1))
    )
    collected(tmp_path, porch)
    assert sides(tmp_path) == {1: "train", 2: "train", 3: "train"}
    found = collected(tmp_path, Answering("shed", example(1, **aside)))
    assert (found.added, found.known) == (0, 1)
    assert sides(tmp_path) == {1: "val", 2: "held back", 3: "train"}
    collected(tmp_path, porch)
    assert sides(tmp_path)[1] == "val"
