"""Child processes run this package, wherever they are started."""

import subprocess
import sys
from pathlib import Path

import pytest

import agent
from agent.board.children import environment


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 always looks in the working folder first")
def test_a_folder_of_the_same_name_is_not_taken_for_the_package(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text("raise SystemExit('not this one')\n")
    command = [sys.executable, "-m", "agent", "--version"]
    said = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert said.stdout.strip() == f"lastlayer {agent.__version__}", said.stderr
