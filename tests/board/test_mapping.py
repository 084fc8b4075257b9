"""A mapped file: its pages can be given back, and are there again when they are read."""

import mmap
import re
from pathlib import Path

import pytest

from agent.board.mapping import forget_pages
from agent.vision.backbone import Backbone
from agent.vision.bundle import DEFAULT, load_bundle


def resident_kb(path: Path) -> int:
    """Of a file's mapped pages in this process."""
    found = re.findall(rf"{re.escape(str(path))}\n(?:.*\n)*?Rss: +(\d+) kB", Path("/proc/self/smaps").read_text())
    return sum(map(int, found))


@pytest.mark.parametrize("name", ["file", "a name with blanks", "(deleted)"])
def test_pages_that_are_given_back_are_read_again(name: str, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096
    (tmp_path / name).write_bytes(content)
    (tmp_path / "link").symlink_to(name)
    with (tmp_path / name).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert mapped[:] == content
        assert resident_kb(tmp_path / name) >= 1024
        forget_pages(tmp_path / "link")
        assert resident_kb(tmp_path / name) == 0
        assert mapped[:] == content


def test_what_is_not_mapped_is_left_alone(tmp_path: Path) -> None:
    forget_pages(tmp_path / "none")


def test_a_network_does_not_stay_in_memory_twice() -> None:
    bundle = load_bundle(DEFAULT)
    backbone = Backbone(bundle)
    assert backbone.size == bundle.size
    assert resident_kb(bundle.model) < bundle.model.stat().st_size / 1024 / 4
