import json
from pathlib import Path

import pytest

from agent.cache.flash import wear
from agent.cache.flash.wear import Wear, read_counts, years


def test_counts_are_kept_by_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "wear.json"
    for number in range(1, 41):
        monkeypatch.setattr(wear, "_today", lambda number=number: f"2026-{1 + number // 31:02d}-{1 + number % 31:02d}")
        counted = Wear(path)
        counted.wrote(1_000_000)
        counted.wrote(500_000, compacting=True)
        assert counted.compacted_today_bytes == 500_000
        counted.save(now=True)
    status = Wear(path).status()
    assert len(json.loads(path.read_text())["days"]) == 30
    own = status["written_today_bytes"] - 1_500_000  # the file itself
    assert 0 < own < 50_000
    assert status["written_bytes"] == 40 * (1_500_000 + own)
    assert status["written_per_day_bytes"] == 1_500_000 + own
    assert status["written_since_start_bytes"] == 0


def test_days_without_writing_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Wear(tmp_path / "wear.json")
    for day in ("2026-02-27", "2026-03-08"):
        monkeypatch.setattr(wear, "_today", lambda day=day: day)
        counted.wrote(5_000_000)
    assert counted.status()["written_per_day_bytes"] == 1_000_000


def test_it_is_written_rarely(tmp_path: Path) -> None:
    counted = Wear(tmp_path / "wear.json")
    counted.wrote(1)
    counted.save()
    assert not (tmp_path / "wear.json").exists()
    counted.save(now=True)
    assert (tmp_path / "wear.json").exists()


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"days": {"x": [1]}}', "\0\0"])
def test_a_damaged_file_begins_anew(content: str, tmp_path: Path) -> None:
    (tmp_path / "wear.json").write_text(content)
    assert read_counts(tmp_path / "wear.json") == {"written_bytes": 0, "evicted": 0, "days": {}}


def test_years() -> None:
    assert years(10, 1_000_000_000) == pytest.approx(10_000 / 365.25)
    assert years(10, 0) is years(None, 5) is None
