import json
from pathlib import Path

import numpy as np
import pytest

import benchmarks
from agent.cache import Cache
from agent.learning.training.examples import VAL
from agent.learning.training.train import train
from benchmarks import __main__ as runner
from benchmarks import synthetic
from benchmarks.rows import ROWS_FILE, Row, at_least, at_most, finish

MEASURES_NOTHING = {"synthetic"}  # it makes what others learn from


def test_every_benchmark_is_in_the_one_table() -> None:
    scripts = Path(benchmarks.__file__).parent.glob("*.py")
    runnable = {path.stem for path in scripts if "def main()" in path.read_text() and path.stem != "__main__"}
    assert runnable - MEASURES_NOTHING == set(runner.NAMES)


def test_a_missed_goal_is_the_exit_code_and_rows_are_printed_or_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    met, missed = at_most("bytes", 0.3, 0.35, "3 kB", "SQLite: 10 kB"), at_least("steps", 2.4, 2.5)
    assert finish([met]) == 0
    assert capsys.readouterr().out.splitlines()[1].split("  ")[-1] == "yes"
    monkeypatch.setenv(ROWS_FILE, str(tmp_path / "rows"))
    assert finish([met, missed]) == 1
    assert [Row(**row) for row in json.loads((tmp_path / "rows").read_text())] == [met, missed]


def test_synthetic_examples_have_classes_that_can_be_learnt_and_the_same_words_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--classes", "3", "--images", "40", "--size", "32"]
    read = []
    for name in ("one", "two"):
        monkeypatch.setattr("sys.argv", ["synthetic", str(tmp_path / name), *words])
        assert synthetic.main() == 0
        with Cache.read(tmp_path / name / "cache") as cache:
            examples = cache.examples()
        read.append(examples.read(np.arange(120), np.empty((120, 32), np.uint8)))
        assert sorted(np.unique(examples.targets, return_counts=True)[1]) == [40, 40, 40]
        assert np.count_nonzero(examples.splits == VAL) == 6  # one in twenty
    assert np.array_equal(read[0], read[1])
    training = train(examples)
    assert training.validation is not None
    assert training.validation.top1 > 0.8
    with pytest.raises(SystemExit, match="2"):  # a second helping would be the same images again
        synthetic.main()
