"""What the benchmarks find, in one form."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.terminal import columns

ROWS_FILE = "LASTLAYER_BENCHMARK_ROWS"  # in the environment: where rows are to be left, for `python -m benchmarks`

HEADING = ("what", "ours", "peer", "ratio", "goal", "met?")
_MET = {None: "", True: "yes", False: "NO"}


@dataclass(frozen=True)
class Row:
    """A figure of ours; beside a peer's and a goal for their ratio where there are such."""

    what: str
    ours: str
    peer: str = ""
    ratio: str = ""
    goal: str = ""
    met: bool | None = None

    def cells(self) -> tuple[str, ...]:
        return (self.what, self.ours, self.peer, self.ratio, self.goal, _MET[self.met])


def at_least(what: str, ratio: float, goal: float, ours: str = "", peer: str = "", unit: str = "x") -> Row:
    return Row(what, ours, peer, f"{ratio:.3g}{unit}", f">= {goal:g}{unit}", ratio >= goal)


def at_most(what: str, ratio: float, goal: float, ours: str = "", peer: str = "", unit: str = "x") -> Row:
    return Row(what, ours, peer, f"{ratio:.3g}{unit}", f"<= {goal:g}{unit}", ratio <= goal)


def beside(what: str, ratio: float, ours: str, peer: str) -> Row:
    """A peer without a goal."""
    return Row(what, ours, peer, f"{ratio:.3g}x")


def table(rows: Sequence[Row]) -> str:
    return columns([HEADING, *(row.cells() for row in rows)])


def finish(rows: Sequence[Row]) -> int:
    """Print the rows, or leave them where all benchmarks' are collected; 1 where a goal was missed."""
    if path := os.environ.get(ROWS_FILE):
        Path(path).write_text(json.dumps([asdict(row) for row in rows]))
    else:
        print(table(rows))
    return int(any(row.met is False for row in rows))
