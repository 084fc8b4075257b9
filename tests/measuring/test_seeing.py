from pathlib import Path

import pytest

from agent.errors import DatasetError
from agent.measuring import seeing
from agent.measuring.seeing import find_pictures


def test_pictures_are_spread_evenly_over_a_folder(tmp_path: Path) -> None:
    for number in range(100):
        path = tmp_path / f"{number // 10}" / f"{number:03d}.JPG"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "readme.txt").touch()
    assert [path.stem for path in find_pictures(tmp_path, 5)] == ["000", "020", "040", "060", "080"]
    assert len(find_pictures(tmp_path, 1000)) == 100


def test_without_pictures_it_says_how_to_give_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeing, "find_spec", lambda name: None)
    with pytest.raises(DatasetError, match="--pictures"):
        find_pictures(None, 50)
