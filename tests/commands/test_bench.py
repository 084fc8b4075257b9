import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from agent.measuring import study
from agent.measuring.report import text
from agent.vision.bundle import DEFAULT, SHIPPED
from tests.daemon import ROOT, lastlayer

PHASES = {
    *("file_access", "decode", "bottleneck", "session_run", "result_processing"),
    *("picture_to_bottleneck", "picture_to_result", "training", "validation"),
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Where a quick bench ran, with out.json in it, and what it printed."""
    if not (SHIPPED / DEFAULT / "manifest.json").is_file():
        pytest.skip(f"no models/{DEFAULT}: this test needs the backbone that ships with Lastlayer")
    pytest.importorskip("sklearn", reason="the pictures are those inside scikit-learn")
    folder = tmp_path_factory.mktemp("bench")
    ended = lastlayer("--state", folder / "state", "bench", "--quick", "--json", "--out", folder / "out.json")
    return folder, json.loads(ended.stdout)


@pytest.fixture(scope="module")
def document(ran: tuple[Path, dict[str, Any]]) -> dict[str, Any]:
    return ran[1]


def test_every_phase_is_measured_and_takes_time(document: dict[str, Any]) -> None:
    (network,) = document["networks"]
    measurements = document["measurements"] + network["measurements"]
    assert {found["phase"] for found in measurements} == PHASES
    for found in measurements:
        assert 0 < found["min_ms"] <= found["p50_ms"] <= found["p95_ms"], found
        assert found["min_ms"] <= found["mean_ms"], found
        assert found["n"] >= 2, found
        assert found["std_ms"] >= 0, found
        assert found["images"] >= 1, found


def test_every_batch_and_number_of_classes_of_the_study_is_there(document: dict[str, Any]) -> None:
    def of(phase: str, condition: str) -> list[Any]:
        return [
            found["conditions"][condition]
            for found in document["measurements"]
            if found["phase"] == phase and condition in found["conditions"]
        ]

    assert of("training", "batch") == of("file_access", "batch") == [100, 1000, 10_000]
    assert of("validation", "classes") == [100, 250, 1000]
    for phase, part in (("picture_to_bottleneck", document["networks"][0]), ("epoch", document)):
        totals = [found for found in part["projections"] if found["phase"] == phase]
        assert [(found["classes"], found["images"]) for found in totals] == [
            (100, 100_000),
            (250, 250_000),
            (1000, 1_000_000),
        ]
        assert all(found["mean_ms"] > 0 for found in totals)
        assert all(found["extrapolated"] and found["std_ms"] is None for found in totals)  # --quick runs none of them


def test_platform_and_backbone_are_named(document: dict[str, Any]) -> None:
    assert (document["format"], document["kind"], document["quick"]) == (2, "bench", True)
    assert document["platform"]["cores"] >= 1
    assert document["platform"]["memory_bytes"] > 2**26
    assert all(document["platform"][key] for key in ("machine", "cpu", "os", "python", "numpy", "blas", "runtime"))
    assert [network["name"] for network in document["networks"]] == [DEFAULT]


def test_the_file_holds_what_was_printed_and_nothing_else_is_left(ran: tuple[Path, dict[str, Any]]) -> None:
    folder, document = ran
    assert json.loads((folder / "out.json").read_text()) == document
    assert [path.name for path in folder.iterdir()] == ["out.json"]


def test_the_text_shows_the_studys_figures_beside_ours(document: dict[str, Any]) -> None:
    shown = text(document)
    row = next(line for line in shown.splitlines() if line.startswith("  100 classes") and "± 0.57 min" in line)
    assert re.fullmatch(
        r"  100 classes +~ \S+ \S+ +\S+ \S+ +8\.57 ± 0\.57 min  14\.24 ± 0\.08 min  14\.57 ± 0\.57 min", row
    )
    assert "56 h" in shown and "23 d 8 h" in shown and "about 6 s" in shown
    assert "Not the same work" in shown and "Quick" in shown


def test_the_studys_column_is_that_of_the_anchors(document: dict[str, Any], shared: Path) -> None:
    """Every figure, as ../shared/ANCHORS.md has it, against the JSON."""
    rows = [line.split("|")[1:-1] for line in (shared / "ANCHORS.md").read_text().splitlines() if line.startswith("| ")]
    by_title = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}

    def cells(beginning: str) -> list[str]:
        return next(cells for title, cells in by_title.items() if title.startswith(beginning))

    columns = document["study"]["columns"]
    for column, cell in zip(columns, cells("bottleneck of one image"), strict=True):
        assert column["bottleneck_s"] == float(cell.split()[0])
    for column, cell in zip(columns, cells("bottlenecks of 100"), strict=True):
        assert list(column["corpus_h"].values()) == [in_hours(part) for part in cell.split("/")]
    for column, cell in zip(columns, cells("one epoch"), strict=True):
        expected = [part.split("±") for part in cell.split("/")]
        assert [spread["mean_min"] for spread in column["epoch"].values()] == [in_minutes(m) for m, _ in expected]
        assert [spread["std_min"] for spread in column["epoch"].values()] == [in_minutes(s) for _, s in expected]
    assert [column["test"] for column in columns] == cells("one image tested")


def in_hours(words: str) -> float:
    return sum(float(n) * {"d": 24, "h": 1}[unit] for n, unit in re.findall(r"([\d.]+) (d|h)", words))


def in_minutes(words: str) -> float:
    return sum(float(n) * {"h": 60, "m": 1, "": 1}[unit] for n, unit in re.findall(r"([\d.]+) ?(h|m|)", words))


def test_the_studys_projections_follow_from_its_bottlenecks() -> None:
    """A slip in a figure would show: the study's hours are its seconds times the pictures, as far as it rounds."""
    for column in study.COLUMNS:
        for classes, h in column.corpus_h.items():
            assert h == pytest.approx(classes * study.IMAGES_A_CLASS * column.bottleneck_s / 3600, rel=0.03)


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (("--pictures", "nowhere"), 3, "nowhere is no folder of pictures"),
        (("--pictures", "empty"), 3, "empty holds no pictures"),
        (("--pictures", "torn"), 3, "torn/a.jpg: "),
        (("--pictures", "empty", "--out", "nowhere/x.json"), 2, "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(
    tmp_path: Path, jpegs: list[bytes], words: tuple[str, ...], code: int, complaint: str
) -> None:
    if not (SHIPPED / DEFAULT / "manifest.json").is_file():
        pytest.skip(f"no models/{DEFAULT}: this test needs the backbone that ships with Lastlayer")
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "a.jpg").write_bytes(jpegs[0][:9000])
    ended = lastlayer(
        *("--state", tmp_path / "state", "bench", "--quick", *words),
        expect=code,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert complaint in ended.stderr
    assert not ended.stdout
