import json
from pathlib import Path

import pytest

import benchmarks
from benchmarks import __main__ as runner
from benchmarks.rows import ROWS_FILE, Row, at_least, at_most, finish


def test_every_benchmark_is_in_the_one_table() -> None:
    scripts = Path(benchmarks.__file__).parent.glob("*.py")
    runnable = {path.stem for path in scripts if "def main()" in path.read_text() and path.stem != "__main__"}
    assert runnable == set(runner.NAMES)


def test_a_missed_goal_is_the_exit_code_and_rows_are_printed_or_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    met, missed = at_most("bytes", 0.3, 0.35, "3 kB", "SQLite: 10 kB"), at_least("steps", 2.4, 2.5)
    assert finish([met]) == 0
    assert capsys.readouterr().out.splitlines()[1].split("  ")[-1] == "yes"
    monkeypatch.setenv(ROWS_FILE, str(tmp_path / "rows"))
    assert finish([met, missed]) == 1
    assert [Row(**row) for row in json.loads((tmp_path / "rows").read_text())] == [met, missed]
