"""The examples of many boards in one cache: bottlenecks and what is known of them, no pictures."""

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.cache import Cache, Layout
from agent.errors import InputError, LastlayerError, MismatchError, ParcelError
from agent.learning.pictures.spelling import alike_pairs
from agent.records import Example
from agent.state.parcels import PAGE_EXAMPLES, Page
from trainer.fleet.boards import Board, BoardError, BoardRefusalError

MAX_SHORT_PAGES = 100  # of a board, with next to nothing in them: where much of its cache is rotten
MAX_EXAMPLES = 4 << 20  # of a board
MAX_LABELS, MAX_CAMERAS = 20_000, 1000  # of a board: a cache holds 65,535 of each


@dataclass
class Collected:
    """What came of it. `failed` maps boards that could not be read to the end to what was wrong."""

    boards: dict[str, int] = field(default_factory=dict)  # address → examples that it sent
    added: int = 0
    relabelled: int = 0
    known: int = 0
    merged_labels: dict[str, str] = field(default_factory=dict)  # as a board spelt it → as it is kept
    similar_labels: dict[str, str] = field(
        default_factory=dict
    )  # new ones → what they are like: --rename makes them one
    conflicts: list[str] = field(default_factory=list)  # frames of which boards say different things; the latest wins
    failed: dict[str, LastlayerError] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "failed": {address: str(wrong) for address, wrong in self.failed.items()}}


def collect(
    boards: Iterable[Board], folder: Path, renamed: Mapping[str, str], on_page: Callable[[Board, Page], None]
) -> Collected:
    """Read the caches of `boards` into the cache in `folder`, which may hold some already; nothing comes twice.

    Labels that differ in nothing but the case or width of letters become one, spelt as it came first; `renamed` maps
    others, and what is new and still like another is named. A board that goes away, has another backbone or runtime
    than those before it, or sends what no board would, is named in `failed`; what it sent until then stays, and the
    others are read. Raises what Cache raises.
    """
    found, merger = Collected(), _Merger(folder, renamed)
    try:
        for board in boards:
            found.boards[board.address] = 0
            try:
                for page in _pages(board):
                    merger.add(board, page, found)
                    found.boards[board.address] += len(page.examples)
                    on_page(board, page)
            except (BoardError, BoardRefusalError, InputError, MismatchError) as error:
                found.failed[board.address] = error
        found.similar_labels = merger.similar_labels()
    finally:
        merger.close()
    return found


def _pages(board: Board) -> Iterable[Page]:
    """Those of a board, which come to an end. Raises ParcelError where they would not."""
    start: str | None = "0" * 16
    short = examples = 0
    labels, cameras = set[str](), set[str]()
    while start is not None:
        page = board.page(start)
        if min([example.frame_id for example in page.examples] + [page.next or "f" * 16]) < start or page.next == start:
            raise ParcelError(f"the page of examples from {start} on goes back behind it")
        short += page.next is not None and 2 * len(page.examples) < PAGE_EXAMPLES
        examples += len(page.examples)
        if short > MAX_SHORT_PAGES or examples > MAX_EXAMPLES:
            raise ParcelError(f"the pages of examples come to no end: {examples} came, and there are to be more")
        labels.update(example.label for example in page.examples)
        cameras.update(example.camera for example in page.examples)
        if len(labels) > MAX_LABELS or len(cameras) > MAX_CAMERAS:
            raise ParcelError(f"the examples have more than {MAX_LABELS} labels or {MAX_CAMERAS} cameras")
        yield page
        start = page.next


class _Merger:
    """Owns the cache that is filled; it is made when the first page says what is in it."""

    def __init__(self, folder: Path, renamed: Mapping[str, str]) -> None:
        self._folder = folder
        self._renamed = renamed
        self._cache: Cache | None = None
        self._before: list[str] = []  # the labels that it had
        self._spelling: dict[str, str] = {}  # folded → as it is kept
        self._sent_by: dict[str, tuple[str, int]] = {}  # frame id → the board that sent it in this run, and its stamp

    def add(self, board: Board, page: Page, found: Collected) -> None:
        if not page.examples and self._cache is None:
            return  # a board without examples does not say what the others must have
        cache = self._opened(board, page.layout)
        fresh = []
        for sent in sorted(page.examples, key=lambda example: example.received_ms):  # frame ids are in no order
            example = self._reconciled(page.node, sent, found)
            label = cache.label_of(example.frame_id)
            if label is None:
                fresh.append(example)
            elif label == example.label or self._is_outvoted(board, example, found):
                found.known += 1
                if cache.goes_aside(example.frame_id, example.split if example.split_said else None):
                    fresh.append(replace(example, label=label))
            else:
                cache.relabel(example.frame_id, example.label)
                found.relabelled += 1
            self._sent_by.setdefault(example.frame_id, (board.address, example.received_ms))
            found.added += label is None
        cache.append(fresh)

    def similar_labels(self) -> dict[str, str]:
        """Those that came in this run and are like another one, and that one."""
        return dict(alike_pairs(self._cache.label_counts(), self._before)) if self._cache else {}

    def close(self) -> None:
        if self._cache is not None:
            self._cache.close()

    def _opened(self, board: Board, layout: Layout) -> Cache:
        if self._cache is None:
            self._cache = Cache(self._folder, layout)
            self._before = [*self._cache.label_counts()]
            self._spelling = {_folded(label): label for label in self._before}
        elif self._cache.layout != layout.as_begun(self._cache.layout):
            raise MismatchError(
                f"{board.address} has another backbone, preprocessing or TFLite runtime (id {layout.backbone_id[:8]}) "
                f"than the boards before it (id {self._cache.layout.backbone_id[:8]}): "
                "collect it into a folder of its own"
            )
        return self._cache

    def _reconciled(self, node: str, example: Example, found: Collected) -> Example:
        label = self._renamed.get(example.label, example.label)
        label = self._spelling.setdefault(_folded(label), label)
        if label != example.label:
            found.merged_labels[example.label] = label
        # Two boards may both have a camera `door`; a burst is of one of them.
        camera = f"{node}/{example.camera}" if example.camera else node
        return replace(example, label=label, camera=camera)

    def _is_outvoted(self, board: Board, example: Example, found: Collected) -> bool:
        """Whether another board, in this run, said something else of the same picture, and later."""
        sender, stamp = self._sent_by.get(example.frame_id, (board.address, 0))
        if sender == board.address:
            return False
        found.conflicts.append(example.frame_id)
        return stamp >= example.received_ms


def _folded(label: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())
