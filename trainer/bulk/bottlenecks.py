"""The way of a corpus: pictures in blocks → workers → one process that appends to the cache.

Everything that decides what the cache holds is done here, in the order of the pictures, and follows from them alone:
however often a run was ended and resumed, and by whatever number of workers, the same examples come out.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from agent.cache import Cache
from agent.errors import BottleneckError, StateError
from agent.learning.pictures.bursts import split_of_group
from agent.learning.pictures.labelled import LabelledPicture
from agent.records import Example
from agent.reporting.timing import Timings
from trainer.bulk.embedding import Embedded, Picture
from trainer.bulk.ledger import Ledger
from trainer.bulk.neighbours import Neighbours

BLOCK = 64  # pictures that a worker gets at once
BLOCK_BYTES = 4 << 20  # of pictures that are sent, not named
LEAST_BLOCKS = 16  # for each worker, where there are as many pictures
GROUP, GROUP_S = 1024, 5.0  # pictures, and time, after which all that is known is made durable


def in_order(pictures: Sequence[LabelledPicture], seed: int = 0) -> list[LabelledPicture]:
    """Shuffled: classes one after the other would suit no training. Those of val and test first: see open_dataset."""
    order = np.random.default_rng(seed).permutation(len(pictures)).tolist()
    return sorted((pictures[place] for place in order), key=lambda picture: picture.split not in ("val", "test"))


def block_for(pictures: int, workers: int) -> int:
    """How many to give at once: of a small corpus so few that every worker gets some blocks."""
    return max(1, min(BLOCK, pictures // (LEAST_BLOCKS * workers)))


def named(pictures: Sequence[LabelledPicture], block: int) -> Iterator[Sequence[Picture]]:
    """Blocks for workers that see the same files."""
    for first in range(0, len(pictures), block):
        yield [picture.read for picture in pictures[first : first + block]]


def sent(pictures: Sequence[LabelledPicture], most: int) -> Iterator[Sequence[Picture]]:
    """Blocks for workers that do not, or for pictures that only this process can read."""
    block: list[Picture] = []
    size = 0
    for picture in pictures:
        try:
            payload = picture.read()
        except OSError as error:
            block.append(_Failing(str(error)))
        else:
            block.append(payload)
            size += len(payload)
        if len(block) == most or size >= BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


class _Failing:
    """Fails to be read once more, where it is counted."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __call__(self) -> bytes:
        raise OSError(self._why)


class Collector:
    """Takes the answers of workers into the cache."""

    def __init__(self, cache: Cache, ledger: Ledger, pictures: Sequence[LabelledPicture], timings: Timings) -> None:
        self._cache = cache
        self._ledger = ledger
        self._pictures = pictures
        self._timings = timings
        examples = cache.examples()
        self._labels = dict(zip(examples.frame_ids.tolist(), examples.targets.tolist(), strict=True))
        self._numbers = {label: number for number, label in enumerate(examples.labels)}
        account = ledger.account
        # On flash, but the account does not know of them: there was a crash between the two.
        self._ahead = set(cache.frame_ids(account.began_ms + account.done).tolist())
        self._neighbours = Neighbours(cache.groups(), cache.set_aside())
        self._waiting: list[Example] = []
        self._place = account.done  # of the next picture
        self._committed = time.monotonic()

    def take(self, answer: Embedded) -> None:
        """What is known of the next pictures. Raises StateError where flash cannot be written."""
        for phases in answer.phases:
            self._timings.merge(phases)
        for place in range(len(answer.frame_ids)):
            self._take(answer, place)
        since = self._place - self._ledger.account.done
        if since >= GROUP or (since and time.monotonic() - self._committed >= GROUP_S):
            self.commit()

    def _take(self, answer: Embedded, place: int) -> None:
        picture, account = self._pictures[self._place], self._ledger.account
        stamp = account.began_ms + self._place
        self._place += 1
        if place in answer.errors:
            account.unreadable += 1
            self._ledger.skip(picture, answer.errors[place])
            return
        number = int(answer.frame_ids[place], 16)
        if number not in self._labels:
            try:
                self._cache.layout.encoded(answer.bottlenecks[place])
            except BottleneckError as error:
                account.unreadable += 1
                self._ledger.skip(picture, str(error))
                return
        label = self._numbers.setdefault(picture.label, len(self._numbers))
        if number in self._ahead:
            self._ahead.remove(number)
            account.added += 1
        elif number not in self._labels:
            self._labels[number] = label
            self._waiting.append(self._example(picture, answer, place, stamp))
            account.added += 1
        elif self._labels[number] == label:
            account.known += 1
            if self._cache.goes_aside(answer.frame_ids[place], picture.split):
                self._waiting.append(self._example(picture, answer, place, stamp))
        else:
            account.contradicting += 1
            self._ledger.skip(picture, "the same picture was learnt before with another label")

    def _example(self, picture: LabelledPicture, answer: Embedded, place: int, stamp: int) -> Example:
        group = self._neighbours.join(answer.fingerprints[place], picture.split)
        split, said = picture.split or split_of_group(group), picture.split is not None
        bottleneck = answer.bottlenecks[place]
        return Example(
            answer.frame_ids[place], picture.label, bottleneck, stamp, split=split, split_said=said, group=group
        )

    def commit(self) -> None:
        """Returns when all that was taken is on flash. Raises StateError."""
        if self._waiting:
            with self._timings.phase("cache_append", images=len(self._waiting)):
                self._cache.append(self._waiting)
            self._waiting = []
        self._ledger.account.done = self._place
        self._ledger.commit()
        self._committed = time.monotonic()


def collect(answers: Iterable[Embedded], collector: Collector, on_pictures: Callable[[int], object]) -> None:
    """Take all answers; what was taken so far is made durable also where it ends early, if that is possible."""
    try:
        for answer in answers:
            collector.take(answer)
            on_pictures(len(answer.frame_ids))
    except BaseException:
        with contextlib.suppress(StateError):
            collector.commit()
        raise
    collector.commit()
