import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.errors import ConfigError
from trainer.commands.arguments import extra, file, file_or_folder, filled, folder


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


@pytest.mark.parametrize("existing", [file, folder, file_or_folder])
def test_a_name_that_nothing_can_have_is_refused(existing: Callable[[str], Path]) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="too long"):
        existing("x" * 300)
