"""No board has the demo: the package leaves it out, and the command line there does not know it."""

import os
import sys
from functools import partial
from pathlib import Path

from tests.daemon import lastlayer
from tests.package import placed


def test_what_a_board_gets_has_no_demo_and_does_not_offer_one(tmp_path: Path) -> None:
    library = placed(tmp_path)
    assert {path.name for path in library.iterdir()} == {"agent", "models"}
    environment = {**os.environ, "PYTHONPATH": str(library)}
    there = partial(lastlayer, agent=(sys.executable, "-m", "agent"), cwd=library, env=environment)
    helped = there("--help").stdout
    assert "\n    run " in helped
    assert "demo" not in helped
    assert "invalid choice: 'demo'" in there("demo", expect=2).stderr
