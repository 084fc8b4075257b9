import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import benchmarks
from agent.cache import Cache
from agent.learning.training.examples import VAL
from agent.learning.training.train import train
from benchmarks import __main__ as runner
from benchmarks import synthetic
from benchmarks.daemon import Client, phases, running, teach
from benchmarks.pictures import photograph
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


def test_a_daemon_answers_while_its_block_lasts_and_is_gone_behind_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    picture, payload = photograph(20_000)
    teach(state, picture)
    with running(state, {"http": {"socket": str(tmp_path / "http.sock")}}) as daemon:
        for where in (daemon.url, tmp_path / "http.sock"):
            with closing(Client(where, payload)) as client:
                assert phases(client.post())["decode"] > 0
        assert daemon.ask("GET", "/v1/status")["sources"]["http"]["frames"] == 2
    assert not daemon.process.is_running()


def test_a_daemon_that_does_not_start_ends_the_benchmark_and_says_what_to_try(tmp_path: Path) -> None:
    with (
        pytest.raises(SystemExit, match="did not start; try: .* run --config"),
        running(tmp_path / "s", {}, ("-c", "")),
    ):
        pass


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
