import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent import cli
from agent.cache import Cache, Layout
from agent.cache.flash import segment
from agent.cache.flash.layout import PAGE_BYTES
from agent.records import Example

LAYOUT = Layout.of("0" * 32, 24, "uint8", 1.0, 0)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    with Cache(tmp_path / "cache", LAYOUT) as cache:
        for number in range(12):
            label, split = ("glass", "train") if number % 3 else ("papier", "val")
            row = np.full(24, number, np.uint8)
            cache.append([Example(f"{number:016x}", label, row, number, split=split)])  # type: ignore[arg-type]
    yield tmp_path


def spoken(capsys: pytest.CaptureFixture[str], state: Path, *words: str, expect: int = 0) -> Any:
    assert cli.main(["--state", str(state), "--json", "cache", *words]) == expect
    return json.loads(capsys.readouterr().out)


def test_stats_count_examples_and_bytes(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stats = spoken(capsys, state, "stats", "--endurance-tbw", "10")
    assert stats["examples"] == 12
    assert stats["labels"]["glass"] == {"train": 8, "val": 0, "test": 0}
    assert stats["labels"]["papier"] == {"train": 0, "val": 4, "test": 0}
    assert stats["segments"] == 1
    assert stats["bytes"] == sum(path.stat().st_size for path in (state / "cache").glob("*.seg"))
    assert stats["written_bytes"] == stats["written_today_bytes"] == stats["written_per_day_bytes"]
    assert stats["written_bytes"] >= 12 * 2 * PAGE_BYTES
    assert stats["years"] == pytest.approx(10e12 / stats["written_bytes"] / 365.25)
    assert cli.main(["--state", str(state), "cache", "stats"]) == 0
    assert "12 examples of 2 labels" in capsys.readouterr().out


def test_rename_and_delete(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert spoken(capsys, state, "rename", "papier", "paper") == {"renamed": 4}
    assert spoken(capsys, state, "delete", "--frame", f"{1:016X}") == {"deleted": 1}
    assert {k: sum(v.values()) for k, v in spoken(capsys, state, "stats")["labels"].items()} == {"glass": 7, "paper": 4}
    assert spoken(capsys, state, "rename", "paper", "glass") == {"renamed": 4}
    assert spoken(capsys, state, "delete", "--label", "glass") == {"deleted": 11}
    assert spoken(capsys, state, "stats")["examples"] == 0


@pytest.mark.parametrize(
    "words", [["delete", "--frame", "f" * 16], ["delete", "--frame", "nonsense"], ["delete", "--label", "metal"]]
)
def test_what_is_not_there_is_refused(state: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--state", str(state), "cache", *words]) == 3
    assert capsys.readouterr().err.startswith("lastlayer cache: no example has the ")


def test_check_names_what_is_rotten(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert spoken(capsys, state, "check") == {"faults": []}
    path = state / "cache" / "00000001.seg"
    offset = segment.open_segment(path, readonly=True).bottleneck_offset(7)
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)
    (fault,) = spoken(capsys, state, "check", expect=5)["faults"]
    assert fault == {"file": path.name, "what": "a rotten bottleneck", "row": 7, "frame_id": f"{7:016x}"}


def test_a_state_without_examples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for action in (["stats"], ["check"], ["delete", "--label", "x"], ["compact"]):
        assert cli.main(["--state", str(tmp_path), "cache", *action]) == 5
        assert "holds no examples yet" in capsys.readouterr().err


def test_changes_are_refused_while_a_daemon_writes(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Cache(state / "cache", LAYOUT):
        assert cli.main(["--state", str(state), "cache", "rename", "glass", "metal"]) == 5
        assert "another process writes" in capsys.readouterr().err
        assert spoken(capsys, state, "stats")["examples"] == 12
