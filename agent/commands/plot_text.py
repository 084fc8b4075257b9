"""Curves as text for a terminal."""

import math
from collections.abc import Sequence

ROWS = 5
LEAST = 1e-6  # on a logarithmic axis
_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII = " ...::::#"
_MARGIN = 9  # columns for the numbers on the left


def chart(
    title: str, steps: Sequence[int], values: Sequence[float], width: int, *, log: bool = False, blocks: bool = True
) -> str:
    """One curve as bars in `width` columns: values against steps, the axis marked with their range.

    `log` takes a logarithmic axis, on which values below LEAST count as that. Without `blocks` there are only ASCII
    characters.
    """
    values = [max(value, LEAST) for value in values] if log else values
    columns = max(8, width - _MARGIN - 2)
    low, high = _range(values, log)
    scale = math.log10 if log else float
    span = scale(high) - scale(low)
    levels = [
        round((scale(value) - scale(low)) / span * (ROWS * 8 - 1)) + 1  # 1 is the lowest that can be seen
        for value in _resampled(steps, values, columns)
    ]
    glyphs = _BLOCKS if blocks else _ASCII
    lines = [title + (", logarithmic" if log else "")]
    for row in reversed(range(ROWS)):
        number = f"{high:.3g}" if row == ROWS - 1 else f"{low:.3g}" if row == 0 else ""
        bars = "".join(glyphs[min(max(level - 8 * row, 0), 8)] for level in levels)
        lines.append(f"{number:>{_MARGIN}} {'│' if blocks else '|'}{bars}".rstrip())
    first, last = str(steps[0]), str(steps[-1])
    axis = f"{first}{last:>{max(1, columns - len(first))}}" if len(steps) > 1 else first
    lines.append(" " * (_MARGIN + 2) + axis)
    return "\n".join(lines)


def _range(values: Sequence[float], log: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low < high:
        return low, high
    return (low / 2, high * 2) if log else (0.0, 1.0) if 0 <= low <= 1 else (low - 0.5, high + 0.5)


def _resampled(steps: Sequence[int], values: Sequence[float], columns: int) -> list[float]:
    """The curve at `columns` places: straight between two points."""
    if len(steps) == 1:
        return [values[0]] * columns
    places: list[float] = []
    segment = 0
    for column in range(columns):
        step = steps[0] + (steps[-1] - steps[0]) * column / (columns - 1)
        while segment < len(steps) - 2 and steps[segment + 1] < step:
            segment += 1
        share = (step - steps[segment]) / max(steps[segment + 1] - steps[segment], 1)
        places.append(values[segment] + (values[segment + 1] - values[segment]) * min(max(share, 0.0), 1.0))
    return places
