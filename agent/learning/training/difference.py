"""What has changed among the examples since they were summed up."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.learning.solving.head import Targets
from agent.learning.training.examples import Identified, Rows

Ids = NDArray[np.uint64]

_ROWS = 1 << 16  # at once


@dataclass(frozen=True, slots=True)
class Change:
    """Examples that came, went, or changed their class."""

    rows: Rows  # [n] of a source, ascending
    before: Targets  # [n] class indices; -1: it was not among the examples
    after: Targets  # [n] class indices; -1: it is not among them any more
    gone: int = 0  # how many others were among them and cannot be read any more

    def __len__(self) -> int:
        return len(self.rows) + self.gone


def difference(frame_ids: Ids, classes: Targets, source: Identified, rows: Rows, targets: Targets) -> Change | None:
    """From `frame_ids` [N], ascending, and their `classes` [N] to these rows of a source, whose classes `targets` are.

    `targets` are those of all examples of the source. None where two of the rows have one frame id.
    """
    present, stays = source.frame_ids, np.zeros(len(frame_ids), np.bool_)
    changed, before, stayed = [np.empty(0, np.intp)], [np.empty(0, np.int32)], 0
    for part in _parts(rows, present):
        place, known = _places(frame_ids, present[part])
        stays[place[known]] = True
        stayed += int(known.sum())
        was = np.full(len(part), -1, np.int32)
        was[known] = classes[place[known]]
        differs = was != targets[part]
        changed.append(part[differs])
        before.append(was[differs])
    came = np.concatenate(changed)
    new = present[came[np.concatenate(before) < 0]]
    if stayed != np.count_nonzero(stays) or len(np.unique(new)) != len(new):
        return None
    removed, classes_of_removed = _rows_of(source, present, frame_ids[~stays], classes[~stays])
    all_rows = np.concatenate([came, removed])
    all_before = np.concatenate([*before, classes_of_removed])
    all_after = np.concatenate([targets[came], np.full(len(removed), -1, np.int32)])
    order = np.argsort(all_rows, kind="stable")
    gone = len(frame_ids) - stayed - len(removed)
    return Change(all_rows[order], all_before[order], all_after[order], gone)


def _rows_of(source: Identified, present: Ids, frame_ids: Ids, classes: Targets) -> tuple[Rows, Targets]:
    """Where in the source those of `frame_ids` [n], ascending, are that can be read, and their `classes` [n].

    `present` are the frame ids of all its examples.
    """
    rows = np.full(len(frame_ids), -1, np.intp)
    if len(frame_ids):
        # The departed first: of two with one id, that which is an example is as good, and is checked more often.
        for ids, first in ((source.departed, len(present)), (present, 0)):
            for part in _parts(np.arange(len(ids)), ids):
                place, known = _places(frame_ids, ids[part])
                rows[place[known]] = part[known] + first
    found = rows >= 0
    return rows[found], classes[found]


def _parts(rows: Rows, ids: Ids) -> Iterator[Rows]:
    """The rows in parts that take little memory, each in the order of its ids: so they are sooner looked up."""
    for first in range(0, len(rows), _ROWS):
        part = rows[first : first + _ROWS]
        yield part[np.argsort(ids[part])]


def _places(ascending: Ids, wanted: Ids) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where each of the wanted is, and which are there."""
    if not len(ascending):
        return np.zeros(len(wanted), np.intp), np.zeros(len(wanted), np.bool_)
    place = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return place, ascending[place] == wanted
