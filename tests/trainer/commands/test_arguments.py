import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.errors import ConfigError
from trainer.commands.arguments import extra, filled


@pytest.mark.parametrize("hushed", [False, True])
def test_what_is_not_installed_is_named_with_the_way_to_install_it(
    hushed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    said = r"keras is not installed: pip install 'lastlayer\[trainer\]'"
    with pytest.raises(ConfigError, match=said), extra(hushed=hushed):
        import keras  # noqa: F401


@dataclass
class Wish:
    out: Path
    steps: int
    names: tuple[str, ...] = ()


def test_options_fill_what_is_called_as_they_are() -> None:
    arguments = argparse.Namespace(out=Path("a"), steps=3, names=["b"], other=4)
    assert filled(Wish, arguments, names=("b",)) == Wish(Path("a"), 3, ("b",))
