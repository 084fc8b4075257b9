import json
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.cli import main
from trainer.commands.export import read_about

HEAVY = ("keras", "torch", "tensorflow", "jax", "distributed", "matplotlib")
COMMANDS = ("pretrain", "finetune", "export", "bottlenecks", "sweep", "evaluate", "bench", "compare")


def test_importing_the_trainer_loads_no_framework() -> None:
    program = f"import sys, trainer, trainer.cli; print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_is_one_screen_with_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"example: lastlayer-trainer {' '.join(command)}" in text
    assert "exit codes" in text
    assert len(text.splitlines()) <= 42


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["knit"], "invalid choice"),
        (["pretrain", "."], "required: --out"),
        (["pretrain", "nowhere", "--out", "a.keras"], "there is no folder or file nowhere"),
        (["pretrain", ".", "--out", "a.h5"], "must end in .keras"),
        (["pretrain", ".", "--out", "a.keras", "--minutes", "0"], "must be more than 0"),
        (["pretrain", ".", "--out", "a.keras", "--minutes", "nan"], "must be more than 0"),
        (["pretrain", ".", "--out", "a.keras", "--batch", "0"], "must be at least 1"),
        (["pretrain", ".", "--out", "a.keras", "--size", "100"], "multiple of 32"),
        (["pretrain", ".", "--out", "a.keras", "--teacher", "nowhere.tflite"], "there is no file nowhere.tflite"),
        (["pretrain", ".", "--out", "a.keras", "--precision", "half"], "invalid choice"),
        (["finetune", "MobileNetV2", "nowhere", "--out", "a.keras"], "there is no folder or file nowhere"),
        (["finetune", "MobileNetV2", ".", "--out", "a.keras", "--epochs", "-1"], "must not be negative"),
        (["export", "MobileNetV2", "--calibrate", ".", "--out", "b", "--quantize", "int4"], "invalid choice"),
        (["export", __file__, "--calibrate", "nowhere", "--out", "b"], "there is no folder or file nowhere"),
    ],
)
def test_bad_arguments_are_named_and_end_with_two(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("text", "message"), [("{", "cannot be read as JSON"), ("[1]", "must hold a JSON object")])
def test_a_bad_about_file_is_named(text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = tmp_path / "about.json"
    about.write_text(text)
    code = main(["export", __file__, "--calibrate", str(tmp_path), "--out", str(tmp_path / "b"), "--about", str(about)])
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_an_unknown_backend_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "abacus")
    assert main(["pretrain", str(tmp_path), "--out", str(tmp_path / "a.keras")]) == 2
    assert "KERAS_BACKEND is 'abacus'" in capsys.readouterr().err


def test_an_about_file_is_taken_as_it_is(tmp_path: Path) -> None:
    about = {"licence": "x", "sources": []}
    (tmp_path / "about.json").write_text(json.dumps(about))
    assert read_about(tmp_path / "about.json") == about
    assert read_about(None) == {}
