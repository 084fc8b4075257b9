import pytest

from agent.measuring import study
from trainer.bulk.scaling import MANY, Model, Run, as_dict, fitted, text


def test_workers_gain_until_the_one_that_appends_is_busy() -> None:
    model = Model(work_ms=10.0, serial_ms=0.5)
    assert model.rate(1) == pytest.approx(100)
    assert model.rate(2) == pytest.approx(200)
    assert model.rate(20) == model.rate(64) == pytest.approx(2000)
    assert model.most_workers == pytest.approx(20)


def test_the_model_follows_from_what_was_measured() -> None:
    model = fitted([Run(2, 1000, 5.0, 4.6, 9.5), Run(1, 1000, 10.0, 9.8, 9.7)])
    assert model.work_ms == pytest.approx(10.0)  # with what is lost on the way
    assert model.serial_ms == pytest.approx(0.2)


def test_the_studys_figures_stand_beside_it() -> None:
    figures = as_dict([Run(1, 1000, 10.0, 9.8, 9.7), Run(2, 1000, 5.5, 5.2, 9.9)])
    assert [run["speed_up"] for run in figures["measured"]] == pytest.approx([1.0, 10 / 5.5])
    assert [projected["workers"] for projected in figures["projected"]] == [1, 2, MANY]
    assert figures["projected"][2]["corpus_h"][1000] == pytest.approx(1e6 / 5000 / 3600)
    assert figures["study"]["Odroid XU4"] == study.COLUMNS[0].corpus_h
    shown = text(figures)
    assert "23 d 8 h" in shown and "22.7 h" in shown and "beyond 50 workers" in shown


def test_a_run_alone_shows_no_speed_up() -> None:
    figures = as_dict([Run(2, 1000, 5.5, 5.2, 9.9)])
    assert figures["measured"][0]["speed_up"] is None
    assert "2, measured" in text(figures)
