"""Figures 12 to 14 of the study, with as many platforms as there are, as PNG."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from agent.measuring import study
from agent.measuring.report import duration
from trainer.comparing.documents import Comparison, Spread

_STUDY, _OURS = "#999999", "#0072b2"
_CLASSES = ("#56b4e9", "#0072b2", "#003a5d")  # light to dark: few to many classes
_PARTS = {"file_access": "#e69f00", "training": "#0072b2", "validation": "#009e73"}
_REST = "#cccccc"
_WIDTH = 9.0  # inches
_TICKS = (  # ms, and what people call it
    *((10.0**power, f"{10 ** (power + 3)} µs") for power in range(-3, 0)),
    *((10.0**power, f"{10**power} ms") for power in range(3)),
    *((1e3, "1 s"), (1e4, "10 s"), (6e4, "1 min"), (6e5, "10 min"), (3.6e6, "1 h"), (3.6e7, "10 h")),
    *((86_400_000.0 * days, f"{days} d") for days in (4, 40, 400)),
)


def figures(comparison: Comparison) -> dict[str, bytes]:
    """PNGs by name."""
    draw: dict[str, Callable[[Comparison], Any]] = {
        "fig12_bottleneck": _bottleneck,
        "fig13_corpora": _corpora,
        "fig14_epochs": _epochs,
        "fig14_epoch_parts": _parts,
        "table3_test": _test,
    }
    return {name: _png(of(comparison)) for name, of in draw.items()}


def _bottleneck(comparison: Comparison) -> Any:
    names = [column.name for column in comparison.seeing]
    colors = [_STUDY if column.of_study else _OURS for column in comparison.seeing]
    figure, axes = _rows(names, "From a picture's file to its bottleneck, mean of 50")
    spreads = [column.bottleneck_ms for column in comparison.seeing]
    _bars(axes, range(len(names)), spreads, colors, 0.7)
    _logarithmic(axes, spreads)
    return figure


def _corpora(comparison: Comparison) -> Any:
    columns = comparison.seeing
    return _by_classes(
        [column.name for column in columns],
        [column.corpus_ms for column in columns],
        f"Bottlenecks of a corpus, {study.IMAGES_A_CLASS} pictures a class: from the mean of one picture",
    )


def _epochs(comparison: Comparison) -> Any:
    columns = comparison.learning
    return _by_classes(
        [column.platform for column in columns],
        [column.epoch_ms for column in columns],
        f"An epoch of the last layer, {study.IMAGES_A_CLASS} examples a class, batches of {study.BATCH}",
    )


def _by_classes(names: Sequence[str], found: Sequence[dict[int, Spread]], title: str) -> Any:
    figure, axes = _rows(names, title, each=0.8)
    height = 0.8 / len(study.CLASSES)
    for number, (classes, color) in enumerate(zip(study.CLASSES, _CLASSES, strict=True)):
        places = [row + (number - 1) * height for row in range(len(names))]
        _bars(axes, places, [each[classes] for each in found], [color] * len(names), height, f"{classes} classes")
    _logarithmic(axes, [spread for each in found for spread in each.values()])
    _legend_below(axes)
    return figure


def _parts(comparison: Comparison) -> Any:
    """What an epoch of 100 classes is made of; the study gives no figures for it, but says which part was largest."""
    classes = study.CLASSES[0]
    columns = [column for column in comparison.learning if column.parts_ms]
    figure, axes = _rows([column.platform for column in columns], f"An epoch of {classes} classes: its parts", each=0.5)
    for row, column in enumerate(columns):
        parts, total = column.parts_ms[classes], column.epoch_ms[classes].mean_ms
        rest = {"rest": max(0.0, total - sum(parts.values()))}
        left = 0.0
        for phase, ms in (parts | rest).items():
            color = _PARTS.get(phase, _REST)
            axes.barh(row, ms, 0.6, left=left, color=color, label=phase.replace("_", " ") if row == 0 else None)
            left += ms
        axes.text(left, row, f" {duration(total)}", va="center", fontsize=9)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ms, _: duration(ms) if ms > 0 else "0"))
    axes.set_xlim(0, 1.15 * max((column.epoch_ms[classes].mean_ms for column in columns), default=1))
    _legend_below(axes)
    return figure


def _test(comparison: Comparison) -> Any:
    columns = [column for column in comparison.seeing if column.session_run_ms and column.result_processing_ms]
    figure, axes = _rows([column.name for column in columns], "One picture tested, 1000 classes", each=0.8)
    session = [column.session_run_ms for column in columns if column.session_run_ms]
    result = [column.result_processing_ms for column in columns if column.result_processing_ms]
    rows = range(len(columns))
    _bars(axes, [row - 0.2 for row in rows], session, [_OURS] * len(columns), 0.38, "session run")
    _bars(axes, [row + 0.2 for row in rows], result, ["#d55e00"] * len(columns), 0.38, "result processing")
    _logarithmic(axes, session + result)
    _legend_below(axes)
    return figure


def _rows(names: Sequence[str], title: str, each: float = 0.45) -> tuple[Any, Any]:
    """A figure with a row for each name, the first one above."""
    figure, axes = pyplot.subplots(figsize=(_WIDTH, 1.3 + each * max(1, len(names))), layout="constrained")
    axes.set_yticks(range(len(names)), names, parse_math=False)  # a platform may be called $
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


def _bars(
    axes: Any, places: Sequence[float], found: Sequence[Spread], colors: Sequence[str], height: float, label: str = ""
) -> None:
    axes.barh(places, [spread.mean_ms for spread in found], height, color=colors, label=label or None)
    for place, spread in zip(places, found, strict=True):
        mark = " ~" if spread.extrapolated else " "
        axes.text(spread.mean_ms, place, mark + duration(spread.mean_ms, spread.std_ms), va="center", fontsize=8)


def _logarithmic(axes: Any, found: Sequence[Spread]) -> None:
    means = [spread.mean_ms for spread in found] or [1.0]
    axes.set_xscale("log")
    axes.set_xlim(min(means) / 3, max(means) * 12)  # with room for the figures beside the bars
    axes.xaxis.set_major_locator(FixedLocator([ms for ms, _ in _TICKS]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ms, _: dict(_TICKS).get(ms, "")))
    axes.xaxis.set_minor_locator(NullLocator())


def _legend_below(axes: Any) -> None:
    axes.figure.legend(loc="outside lower right", ncols=4, fontsize=9, frameon=False)


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    pyplot.close(figure)
    return buffer.getvalue()
