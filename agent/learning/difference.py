"""What has changed among the examples since they were summed up."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.learning.examples import Identified, Rows, Targets

Ids = NDArray[np.uint64]


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
    rows = rows[np.argsort(source.frame_ids[rows], kind="stable")]
    found = source.frame_ids[rows]
    if (found[1:] == found[:-1]).any():
        return None
    place, known = _places(frame_ids, found)
    before, after = np.where(known, classes[place] if len(classes) else -1, -1), targets[rows]
    changed = before != after
    left = np.ones(len(frame_ids), np.bool_)
    left[place[known]] = False
    removed, are_there = _rows_of(source, frame_ids[left])
    all_rows = np.concatenate([rows[changed], removed])
    all_before = np.concatenate([before[changed], classes[left][are_there]]).astype(np.int32)
    all_after = np.concatenate([after[changed], np.full(int(are_there.sum()), -1)]).astype(np.int32)
    order = np.argsort(all_rows, kind="stable")
    return Change(all_rows[order], all_before[order], all_after[order], int((~are_there).sum()))


def _rows_of(source: Identified, frame_ids: Ids) -> tuple[Rows, NDArray[np.bool_]]:
    """Where in the source those are that are there, among the departed if need be, and which these are."""
    if not len(frame_ids):
        return np.empty(0, np.int64), np.empty(0, np.bool_)
    ids = np.concatenate([source.frame_ids, source.departed])
    order = np.argsort(ids, kind="stable")  # so of two with one id, that which is an example comes first
    place, known = _places(ids[order], frame_ids)
    return order[place[known]].astype(np.int64), known


def _places(ascending: Ids, wanted: Ids) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where each of the wanted is, and which are there."""
    if not len(ascending):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.bool_)
    place = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return place, ascending[place] == wanted
