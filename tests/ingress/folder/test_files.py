import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ingress.folder.files import PictureFile, Place, Version, _numbered, is_picture, pictures


def test_what_a_picture_is_called() -> None:
    assert all(
        map(
            is_picture,
            ["a.jpg", "A.JPG", "b.jpeg", "c.PNG", "d.webp", "e.bmp", "f.jfif", "g.JPE", "two.dots.jpg", " .jpg"],
        )
    )
    assert not any(map(is_picture, [".a.jpg.Xy12", ".a.jpg", "a.jpg.part", "a.txt", "jpg", "", "a.jpg~", "clip.mp4"]))


@given(st.binary(min_size=1, max_size=251).filter(lambda name: not set(b"/\0") & set(name)))
def test_another_name_is_one_that_a_file_can_have(stem: bytes) -> None:
    name = os.fsdecode(stem + b".jpg")
    other = _numbered(name, 1_700_000_000_000_000_000)
    assert other != name
    assert len(os.fsencode(other)) <= 255
    assert other.endswith("-1700000000000000000.jpg")


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "nothing"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    (tmp_path / "target").write_bytes(b"secret")
    path = tmp_path / "a.jpg"
    if kind == "link":
        path.symlink_to("target")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    with PictureFile(str(tmp_path), Place("", "a.jpg")) as file, pytest.raises(FileNotFoundError):
        file.read(100)
    assert list(pictures(str(tmp_path), "")) == []


def test_a_subfolder_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").write_bytes(b"secret")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "door").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotADirectoryError), PictureFile(str(tmp_path / "root"), Place("door", "a.jpg")):
        pass
    (tmp_path / "root" / "done").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "b.jpg").write_bytes(b"mine")
    with PictureFile(str(tmp_path / "root"), Place("", "b.jpg")) as file, pytest.raises(NotADirectoryError):
        file.move("done")
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["a.jpg"]


def test_a_version_changes_with_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"one")
    versions = {Version.of(path.stat())}
    path.write_bytes(b"longer")
    versions.add(Version.of(path.stat()))
    (tmp_path / "b").write_bytes(b"longer")
    (tmp_path / "b").replace(path)
    versions.add(Version.of(path.stat()))
    assert len(versions) == 3
