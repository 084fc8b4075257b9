"""A head's curves: as text for a terminal, and as a picture."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agent.vision.drawing import Line, Words, drawn

LEAST_LOSS = 1e-6  # on a logarithmic axis

ROWS = 5
_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII = " ...::::#"
_MARGIN = 9  # columns for the numbers on the left

WIDTH, HEIGHT = 900, 640
_LEFT, _RIGHT, _TOP, _MIDDLE, _BOTTOM = 72, 878, 62, 360, 590  # of the two panels
_GAP = 46  # between them
_GREY, _LIGHT = "#666666", "#dddddd"

_SCORES = (  # key of a curve's point, its name, its colour: blue, orange and green that the colour-blind tell apart
    ("train_top1", "training top-1", "#0072b2"),
    ("val_top1", "validation top-1", "#d55e00"),
    ("val_top5", "validation top-5", "#009e73"),
)
_LOSS = ("loss", "training loss", "#0072b2")


def curves_text(report: dict[str, Any], width: int, blocks: bool) -> str:
    """The curves in a head's report (learning/heads/store.py) in `width` columns, one below the other."""
    charts = []
    for key, name, _ in (_LOSS, *_SCORES):
        known = [point for point in report.get("curves") or () if point[key] is not None]
        if known:
            steps, values = [point["step"] for point in known], [point[key] for point in known]
            charts.append(chart(name, steps, values, width, log=key == "loss", blocks=blocks))
    return "\n\n".join(charts) or "no curves: it was computed at once, without steps"


def chart(
    title: str, steps: Sequence[int], values: Sequence[float], width: int, *, log: bool = False, blocks: bool = True
) -> str:
    """One curve as bars in `width` columns: values against steps, the axis marked with their range.

    `log` takes a logarithmic axis, on which values below LEAST_LOSS count as that. Without `blocks` there are only
    ASCII characters.
    """
    values = [max(value, LEAST_LOSS) for value in values] if log else values
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


@dataclass(frozen=True)
class Axis:
    """Values on the way from one pixel to another."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (map(math.log10, (self.low, self.high, value))) if self.log else (self.low, self.high, value)
        return self.begin + (value - low) / (high - low) * (self.end - self.begin)


def curves_png(report: dict[str, Any]) -> bytes:
    """The curves in a head's report (learning/heads/store.py) as a PNG. Without curves, its final figures alone."""
    points: list[dict[str, Any]] = report.get("curves") or []
    last = points[-1]["step"] if points else 1
    x = Axis(0, last, _LEFT, _RIGHT)
    shapes = [*_heading(report), *_scores_panel(report, points, x), *_loss_panel(report, points, x)]
    return drawn(WIDTH, HEIGHT if points else _MIDDLE + 30, shapes)


def _heading(report: dict[str, Any]) -> Iterator[Words]:
    labels, examples = len(report.get("labels") or ()), report.get("examples")
    yield Words(_LEFT, 20, f"head {report.get('version')}: {report.get('solver')}", "#000000", size=18)
    yield Words(_RIGHT, 20, f"{examples} examples of {labels} labels", _GREY, share=1)


def _scores_panel(report: dict[str, Any], points: list[dict[str, Any]], x: Axis) -> Iterator[Line | Words]:
    final = report.get("top1")
    known = [point[key] for point in points for key, *_ in _SCORES if point[key] is not None]
    low = min([*known, *([] if final is None else [final])], default=0.0)
    low = max(0.0, math.floor(10 * low - 0.5) / 10) if low < 0.95 else 0.9
    y = Axis(low, 1.0, _MIDDLE, _TOP)
    step = next(step for step in (0.02, 0.05, 0.1, 0.2) if (1 - low) / step <= 6)
    ticks = [round(1 - number * step, 2) for number in range(int((1 - low) / step + 1e-6) + 1)]
    yield from _frame(x, y, [(tick, f"{tick:.2f}") for tick in ticks], bool(points))
    legend = []
    for key, name, color in _SCORES:
        line = [(x(point["step"]), y(point[key])) for point in points if point[key] is not None]
        if line:
            yield Line(line, color, 2, dots=len(line) <= 50)
            legend.append((name, color))
    if final is not None:
        height = y(final)
        for left in range(_LEFT, _RIGHT, 12):
            yield Line([(left, height), (min(left + 6, _RIGHT), height)], "#000000")
        legend.append((f"this head on validation: {final:.3f}", "#000000"))
    yield from _legend(legend, _TOP - 14)
    if not points:
        yield Words((_LEFT + _RIGHT) / 2, (_TOP + _MIDDLE) / 2, "computed at once, without steps", _GREY, 0.5)


def _loss_panel(report: dict[str, Any], points: list[dict[str, Any]], x: Axis) -> Iterator[Line | Words]:
    key, name, color = _LOSS
    top = _MIDDLE + _GAP
    losses = [(point["step"], max(point[key], LEAST_LOSS)) for point in points]
    if not losses:
        return
    low, high = min(loss for _, loss in losses), max(loss for _, loss in losses)
    y = Axis(low / 1.2, high * 1.2, _BOTTOM, top, log=True)
    ticks = _decades(y.low, y.high)
    yield from _frame(x, y, [(tick, f"{tick:g}") for tick in ticks], True)
    line = [(x(step), y(loss)) for step, loss in losses]
    yield Line(line, color, 2, dots=len(line) <= 50)
    yield from _legend([(f"{name} (logarithmic)", color)], top - 14)
    own = str(report.get("solver")).startswith(("adam", "sgd"))
    yield Words((_LEFT + _RIGHT) / 2, HEIGHT - 16, "steps" if own else "steps of Adam, tried beside it", _GREY, 0.5)


def _frame(x: Axis, y: Axis, ticks: Sequence[tuple[float, str]], numbered: bool) -> Iterator[Line | Words]:
    for tick, name in ticks:
        yield Line([(x.begin, y(tick)), (x.end, y(tick))], _LIGHT)
        yield Words(x.begin - 8, y(tick), name, _GREY, share=1)
    for step in _round_steps(x.high) if numbered else ():
        yield Line([(x(step), y.begin), (x(step), y.begin + 4)], _GREY)
        yield Words(x(step), y.begin + 14, f"{step:,}", _GREY, share=0.5)
    yield Line([(x.begin, y.end), (x.begin, y.begin), (x.end, y.begin)], _GREY)


def _legend(entries: Sequence[tuple[str, str]], y: float) -> Iterator[Line | Words]:
    for number, (name, color) in enumerate(entries):
        left = _LEFT + 4 + number * 160
        yield Line([(left, y), (left + 18, y)], color, 3)
        yield Words(left + 24, y, name)


def _round_steps(last: float) -> list[int]:
    """0 and about five round numbers up to the last step."""
    if last < 1:
        return [0]
    size = 10 ** math.floor(math.log10(last / 5)) if last >= 5 else 1
    step = next(size * factor for factor in (1, 2, 5, 10) if last / (size * factor) <= 6)
    return list(range(0, int(last) + 1, int(step)))


def _decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two values; of a wide range the powers alone, and at most about eight."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first <= 3 else (1,)
    every = max(1, (last - first) // 8)
    ticks = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
    return [tick for tick in ticks if low <= tick <= high] or [low, high]
