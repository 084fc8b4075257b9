import io
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from agent.commands.plots import HEIGHT, ROWS, WIDTH, chart, curves_png, curves_text


def heights(text: str) -> list[int]:
    """How many rows of a chart are not blank in each column."""
    rows = [line.split("│", 1)[1] for line in text.splitlines()[1 : ROWS + 1]]
    width = max(map(len, rows))
    return [sum(row.ljust(width)[column] != " " for row in rows) for column in range(width)]


def test_a_falling_loss_falls_from_the_left_to_the_right() -> None:
    steps = list(range(100, 1001, 100))
    text = chart("training loss", steps, [math.exp(-step / 200) for step in steps], 80, log=True)
    columns = heights(text)
    assert columns == sorted(columns, reverse=True)
    assert (columns[0], columns[-1]) == (ROWS, 1)
    middle = columns[len(columns) // 2]
    assert middle == (ROWS + 1) // 2  # an exponential is straight on a logarithmic axis
    assert "logarithmic" in text
    assert "0.607" in text and "0.00674" in text
    assert "100" in text.splitlines()[-1] and "1000" in text.splitlines()[-1]


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_a_chart_is_as_wide_as_the_terminal(width: int) -> None:
    text = chart("validation top-1", [1, 2, 3], [0.1, 0.5, 0.9], width)
    assert max(map(len, text.splitlines())) == width


def test_where_there_is_no_utf_8_a_chart_is_ascii() -> None:
    text = chart("validation top-1", [1, 2, 3], [0.1, 0.5, 0.9], 60, blocks=False)
    text.encode("ascii")
    assert "#" in text


@given(
    st.lists(st.floats(0, 1e9) | st.floats(0, 1e-9), min_size=1, max_size=50),
    st.integers(0, 300),
    st.booleans(),
    st.booleans(),
)
def test_any_curve_can_be_drawn(values: list[float], width: int, log: bool, blocks: bool) -> None:
    text = chart("loss", list(range(1, len(values) + 1)), values, width, log=log, blocks=blocks)
    assert len(text.splitlines()) == ROWS + 2


def report(*points: tuple[int, float, float, float | None], **more: Any) -> dict[str, Any]:
    curves = [
        {"step": step, "loss": loss, "train_top1": train, "val_top1": val, "val_top5": val and (1 + val) / 2}
        for step, loss, train, val in points
    ]
    return {"version": "3", "solver": "adam", "labels": ["a", "стекло"], "examples": 9, "curves": curves, **more}


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def has_color(picture: np.ndarray, red: int, green: int, blue: int) -> bool:
    return bool((np.abs(picture - (red, green, blue)).max(axis=2) < 30).sum() > 100)


BLUE, ORANGE = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)


def test_a_text_shows_the_curves_that_there_are() -> None:
    judged = curves_text(report((100, 1.0, 0.5, 0.4), (200, 0.1, 0.8, 0.6), top1=0.6), 60, True)
    titles = [line for line in judged.splitlines() if line.startswith(("training", "validation"))]
    assert titles == ["training loss, logarithmic", "training top-1", "validation top-1", "validation top-5"]
    unjudged = curves_text(report((100, 1.0, 0.5, None), (200, 0.1, 0.8, None), top1=None), 60, True)
    assert "training top-1" in unjudged and "validation" not in unjudged
    for without in (report(top1=0.93), {"version": "3"}):
        assert curves_text(without, 60, True).startswith("no curves")


def test_a_picture_shows_the_curves_that_there_are() -> None:
    both = pixels(curves_png(report((100, 1.0, 0.5, 0.4), (200, 0.1, 0.8, 0.6), (300, 0.01, 0.99, 0.7), top1=0.7)))
    assert both.shape == (HEIGHT, WIDTH, 3)
    assert has_color(both, *BLUE)
    assert has_color(both, *ORANGE)
    unjudged = pixels(curves_png(report((100, 1.0, 0.5, None), (200, 0.1, 0.8, None), top1=None)))
    assert has_color(unjudged, *BLUE)
    assert not has_color(unjudged, *ORANGE)


@pytest.mark.parametrize(
    "made",
    [
        report(top1=0.93),  # computed at once
        report(top1=None),
        report((1, 0.0, 1.0, 1.0), top1=1.0),  # nothing to take a logarithm of
        report((1, 1e-30, 0.0, 0.0), (10_000_000, 1e30, 0.0, 0.0), top1=0.0),
        {"version": "3"},  # of another age
    ],
)
def test_every_report_gives_a_picture(made: dict[str, Any]) -> None:
    assert pixels(curves_png(made)).shape[1] == WIDTH


@given(st.lists(st.tuples(st.integers(1, 10**7), st.floats(0, 1e30), st.floats(0, 1), st.floats(0, 1)), max_size=20))
def test_any_curves_give_a_picture(points: list[tuple[int, float, float, float]]) -> None:
    assert curves_png(report(*sorted(points), top1=0.5)).startswith(b"\x89PNG")
