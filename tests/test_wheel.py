"""What is installed from a wheel, outside the checkout, works like the checkout."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import write_class_folders
from tests.daemon import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content in a folder of its own. Its dependencies are those of these tests."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a build leaves traces in its source
    for name in ("agent", "trainer", "demo", "models"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
    subprocess.run(build, check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", "-m", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=installed.parent,
        env={**os.environ, "PYTHONPATH": str(installed)},
    )


@pytest.mark.slow
def test_the_wheel_holds_what_it_needs_and_nothing_else(installed: Path) -> None:
    names = {path.relative_to(installed).parts[0] for path in installed.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"agent", "trainer", "demo", "models"}
    shipped = {path.relative_to(ROOT) for path in (ROOT / "models").rglob("*") if path.is_file()}
    assert {path.relative_to(installed) for path in (installed / "models").rglob("*") if path.is_file()} == shipped
    (entry_points,) = installed.glob("*.dist-info/entry_points.txt")
    assert "lastlayer = agent.cli:main" in entry_points.read_text()
    assert "lastlayer-trainer = trainer.cli:main" in entry_points.read_text()


@pytest.mark.slow
def test_it_learns_with_the_default_backbone_outside_the_checkout(
    installed: Path, tmp_path: Path, photographs: list[np.ndarray]
) -> None:
    pictures, state = write_class_folders(tmp_path / "pictures", photographs, 10), tmp_path / "state"
    learnt = run(installed, "agent", "--state", state, "learn", pictures, "--json")
    assert learnt.returncode == 0, learnt.stderr
    assert json.loads(learnt.stdout)["added"] == 20
    for words in (["retrain"], ["evaluate", pictures], ["heads"]):
        ended = run(installed, "agent", "--state", state, *words, "--json")
        assert ended.returncode == 0, ended.stderr


@pytest.mark.slow
def test_the_trainer_says_its_help_without_its_frameworks(installed: Path) -> None:
    ended = run(installed, "trainer", "--help")
    assert ended.returncode == 0, ended.stderr
    assert "pretrain" in ended.stdout
