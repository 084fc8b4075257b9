"""The study's figures 8 to 11, by matplotlib, as PNG files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot

from trainer.sweeping.sweep import Curve, Point

FIGURES: tuple[tuple[str, str, Callable[[Point], float], bool], ...] = (
    ("fig8_cross_entropy", "cross-entropy of the training batches", lambda p: p.loss, True),
    ("fig9_training_top1", "top-1 on training examples", lambda p: p.train.top1, False),
    ("fig10_validation_top1", "top-1 on validation examples", lambda p: p.val.top1, False),
    ("fig11_validation_top5", "top-5 on validation examples", lambda p: p.val.top5, False),
)
EACH = "each_setting"
_LEAST_LOSS = 1e-6
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito 2008


def draw(curves: Sequence[Curve], folder: Path, title: str, picked: str | None) -> list[str]:
    """Write the figures; their file names."""
    return [
        *(_save(_of_all(curves, *figure[1:], title, picked), folder / f"{figure[0]}.png") for figure in FIGURES),
        _save(_of_each(curves, title, picked), folder / f"{EACH}.png"),
    ]


def _of_all(
    curves: Sequence[Curve],
    what: str,
    value: Callable[[Point], float],
    log: bool,
    title: str,
    picked: str | None,
) -> Any:
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for number, curve in enumerate(curves):
        name = str(curve.setting)
        points = [(p.step, max(value(p), _LEAST_LOSS) if log else value(p)) for p in curve.points]
        label = name + (" (picked)" if name == picked else " (diverged)" if curve.diverged else "")
        axes.plot(
            *zip(*points, strict=True) if points else ((), ()), label=label, **_style(curve, number, name == picked)
        )
    if log:
        axes.set_yscale("log")
    axes.set(xlabel="steps", ylabel=what + (" (logarithmic)" if log else ""), title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _of_each(curves: Sequence[Curve], title: str, picked: str | None) -> Any:
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure, grid = pyplot.subplots(
        rows,
        columns,
        figsize=(4.2 * columns, 3.2 * rows),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    lines: tuple[tuple[str, Callable[[Point], float], str, str], ...] = (
        ("training top-1", lambda p: p.train.top1, "#0072b2", "-"),
        ("training top-5", lambda p: p.train.top5, "#0072b2", ":"),
        ("validation top-1", lambda p: p.val.top1, "#d55e00", "-"),
        ("validation top-5", lambda p: p.val.top5, "#d55e00", ":"),
    )
    for axes, curve in zip(grid.flat, curves, strict=False):
        name = str(curve.setting)
        for label, value, color, dash in lines:
            axes.plot([p.step for p in curve.points], [value(p) for p in curve.points], dash, color=color, label=label)
        axes.set_title(name + (" (picked)" if name == picked else " (diverged)" if curve.diverged else ""))
        axes.grid(alpha=0.3)
    for axes in grid.flat[len(curves) :]:
        axes.set_axis_off()
    for axes in grid[-1]:
        axes.set_xlabel("steps")
    grid[0][0].legend(fontsize="small")
    figure.suptitle(title)
    return figure


def _style(curve: Curve, number: int, picked: bool) -> dict[str, Any]:
    """SGD is dashed, Adam is not; what was picked is thick."""
    style: dict[str, Any] = {"linestyle": "--" if curve.setting.solver == "sgd" else "-"}
    style["color"] = _COLORS[number % len(_COLORS)]
    return style | {"linewidth": 3.0 if picked else 1.5, "marker": "." if len(curve.points) < 30 else ""}


def _save(figure: Any, path: Path) -> str:
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path.name
