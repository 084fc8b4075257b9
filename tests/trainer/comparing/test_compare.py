import copy
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason="the trainer extra is not installed")

from agent.errors import ConfigError
from agent.measuring.report import text
from tests.trainer.comparing.documents import document, network
from trainer.cli import main
from trainer.comparing.documents import load
from trainer.comparing.page import page

FIGURES = ("fig12_bottleneck", "fig13_corpora", "fig14_epochs", "fig14_epoch_parts", "table3_test")
BOARD = document(network("inception_v3_int8", 900.0), network("standard", 9.0))
DESKTOP = document(network("inception_v3_float", 60.0), network("inception_v3_keras", 4.0, "gpu:0"), cpu="Xeon <&>")


class Cells(HTMLParser):
    """The rows of all tables, and whatever is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.sources: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        self._inside = tag in ("td", "th")
        if self._inside:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[-1][-1] += data


def written(folder: Path, **documents: Any) -> list[Path]:
    for name, content in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return [folder / f"{name}.json" for name in documents]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    paths = written(folder, odroid=BOARD, desktop=DESKTOP)
    assert main(["compare", *map(str, paths), "--out", str(folder / "out")]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def cells(out: Path) -> Cells:
    parser = Cells()
    parser.feed((out / "report.html").read_text())
    return parser


def rows_of(cells: Cells, name: str) -> list[list[str]]:
    return [row for row in cells.rows if row[0] == name]


def test_the_studys_figures_stand_beside_every_platforms(cells: Cells) -> None:
    bottleneck, corpus, test = rows_of(cells, "study, Odroid XU4: Inception v3")
    assert bottleneck[1:3] == ["below 4 ms", "2.00 s"]
    assert corpus[1:] == ["~ 56.0 h", "~ 140 h", "~ 23 d 8 h"]
    assert test[1:] == ["", "", "about 6 s"]
    assert rows_of(cells, "study, PC, GPU: Inception v3 on gpu")[1][1:] == ["~ 2.20 h", "~ 5.70 h", "~ 22.7 h"]
    (epoch,) = rows_of(cells, "study, Odroid XU4")
    assert epoch[1:4] == ["8.57 ± 0.57 min", "22.9 ± 0.7 min", "2.12 ± 0.05 h"]


def test_each_network_of_each_platform_has_a_row(cells: Cells) -> None:
    bottleneck, corpus, test = rows_of(cells, "odroid: inception_v3_int8")
    assert bottleneck[1:] == ["100 ± 10 µs", "902 ± 90 ms", ""]
    assert corpus[1] == "~ 25.1 h"
    assert test[1:] == ["900 ± 90 ms", "30.0 ± 3.0 µs", "903 ± 90 ms"]
    assert rows_of(cells, "desktop: inception_v3_keras on gpu:0")[0][3] == "62.5 µs"  # of 64 in 4 ms
    (epoch,) = [row for row in rows_of(cells, "odroid") if "µs" not in row[1] and "min" not in row[1] and "±" in row[1]]
    assert epoch[1:4] == ["5.00 ± 0.10 s", "~ 12.5 s", "~ 50.0 s"]
    assert epoch[4:] == ["300 ms", "3.50 s", "60.0 ms"]


def test_the_page_needs_nothing_beside_it_and_says_what_it_was_given(out: Path, cells: Cells) -> None:
    assert cells.sources and all(source.startswith("data:image/png;base64,") for source in cells.sources)
    page = (out / "report.html").read_text()
    assert "Xeon &lt;&amp;&gt;" in page and "Xeon <" not in page
    assert not re.search(r"https?://", page)
    pngs = sorted(path.name for path in out.glob("*.png"))
    assert pngs == [
        "fig12_bottleneck.png", "fig13_corpora.png", "fig14_epoch_parts.png", "fig14_epochs.png", "table3_test.png",
    ]  # fmt: skip
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in pngs)


def test_platforms_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    paths = [*written(tmp_path / "a", x=BOARD), *written(tmp_path / "b", x=DESKTOP)]
    titles = [column.platform for column in load(paths).learning if not column.of_study]
    assert titles == ["x (Cortex-A15, 1)", "x (Xeon <&>, 2)"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "cannot be read"),
        ("[]", "is no document of"),
        ('{"kind": "sweep"}', "is no document of"),
        ('{"kind": "bench", "format": 1}', "has format 1, this version reads 2"),
        ('{"kind": "bench", "format": 2}', "lacks something that a bench measures"),
    ],
)
def test_what_is_no_document_is_named(content: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=complaint):
        load([path])


def test_several_networks_of_one_platform_are_told_apart_in_the_terminal() -> None:
    shown = text(DESKTOP | {"study": {}})
    assert "one picture by inception_v3_float, cpu" in shown
    assert "one picture by inception_v3_keras, gpu:0" in shown
    assert "backbone, 64 at once" in shown


def places(content: Any, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """Where something stands in a document, at any depth."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path] + [place for key, inner in items for place in places(inner, (*path, key))]


def changed(place: tuple[object, ...], to: object) -> dict[str, Any]:
    content: Any = copy.deepcopy(BOARD)
    at = content
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = to
    return dict(content)


TEXTS = (True, "x", "", "\ud800", "\x1b[2J", "$x^$", "x" * 10_000)
NUMBERS = (-1, 0, 10**400, 1e308, float("nan"), float("inf"))
ANYTHING: st.SearchStrategy[object] = st.sampled_from([None, *TEXTS, *NUMBERS, [], {}, [[]], {"a": 1}])


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(places(BOARD)[1:]), ANYTHING)
def test_whatever_stands_in_a_document_it_is_shown_or_refused_by_name(
    tmp_path: Path, place: tuple[object, ...], to: object
) -> None:
    paths = written(tmp_path, odroid=changed(place, to))
    try:
        comparison = load(paths)
    except ConfigError as error:
        assert str(paths[0]) in str(error)
        return
    page(comparison, {name: b"" for name in FIGURES}).encode()
    for each in (*comparison.seeing, *comparison.learning):
        assert repr(each).isprintable() and not {"nan", "inf"} & set(re.findall(r"\w+", repr(each)))


def test_a_platform_may_be_called_anything_that_can_be_printed(tmp_path: Path) -> None:
    paths = written(tmp_path, **{"$\\frac{$": document(network("$x^$", 0.0))})
    assert main(["compare", *map(str, paths), "--out", str(tmp_path / "out")]) == 0


def test_a_document_without_an_end_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "x.json").touch()
    os.truncate(tmp_path / "x.json", 20 << 30)
    os.mkfifo(tmp_path / "fifo.json")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for name, what in (("x", "it has 21474836480 bytes"), ("fifo", "it is a FIFO"), ("deep", "recursion")):
        with pytest.raises(ConfigError, match=f"{name}.json cannot be read: .*{what}"):
            load([tmp_path / f"{name}.json"])
