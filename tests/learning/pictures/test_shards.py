import io
import tarfile
from pathlib import Path

import pytest

from agent.errors import DatasetError
from agent.learning.pictures.dataset import open_dataset


def shard(path: Path, members: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content.encode())
            archive.addfile(member, io.BytesIO(content.encode()))
    return path


def listed(source: Path) -> list[tuple[str, str | None, str]]:
    with open_dataset(source) as pictures:
        return [(picture.label, picture.split, picture.read().decode()) for picture in pictures]


def test_the_label_of_a_picture_lies_beside_it(tmp_path: Path) -> None:
    source = shard(
        tmp_path / "a.tar",
        {
            "0001.jpg": "one",
            "0001.cls": "glass\n",
            "0002.json": '{"label": "paper", "width": 3}',
            "0002.seg.png": "two",
            "0003.cls": "tin",
            "0003.txt": "a caption without a picture",
            "metal/0004.jpg": "four",
        },
    )
    assert listed(source) == [("glass", None, "one"), ("paper", None, "two"), ("metal", None, "four")]


def test_numbers_of_classes_get_names_where_they_are_written_down(tmp_path: Path) -> None:
    source = shard(tmp_path / "a.tar", {"1.jpg": "x", "1.cls": "1", "2.jpg": "y", "2.cls": "7"})
    assert [label for label, _, _ in listed(source)] == ["1", "7"]
    (tmp_path / "classes.txt").write_text("glass\npaper\n")
    assert [label for label, _, _ in listed(source)] == ["paper", "7"]


def test_the_names_of_shards_and_of_their_folders_say_the_split(tmp_path: Path) -> None:
    shard(tmp_path / "set-train-0000.tar", {"a/1.jpg": "1"})
    shard(tmp_path / "set-val-0000.tar", {"a/2.jpg": "2"})
    shard(tmp_path / "test" / "0000.tar", {"a/3.jpg": "3"})
    assert sorted(listed(tmp_path), key=str) == [("a", "test", "3"), ("a", "train", "1"), ("a", "val", "2")]


def test_a_torn_or_compressed_shard_is_named(tmp_path: Path) -> None:
    whole = shard(tmp_path / "a.tar", {f"{n}/{n}.jpg": "x" * 3000 for n in range(9)})
    whole.write_bytes(whole.read_bytes()[:9000])
    with pytest.raises(DatasetError, match=r"a\.tar cannot be read as a tar archive"):
        listed(whole)
    with tarfile.open(tmp_path / "b.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("x"))
    with pytest.raises(DatasetError, match="unpack what is compressed"):
        listed(tmp_path / "b.tar")


def test_a_picture_without_a_label_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"a\.tar: 1\.jpg has no label"):
        listed(shard(tmp_path / "a.tar", {"1.jpg": "x"}))
    with pytest.raises(DatasetError, match=r"1\.json cannot be read"):
        listed(shard(tmp_path / "b.tar", {"1.jpg": "x", "1.json": "{"}))


def test_a_shard_that_has_shrunk_since_fails_only_its_own_pictures(tmp_path: Path) -> None:
    source = shard(tmp_path / "a.tar", {"a/1.jpg": "x" * 600, "b/2.jpg": "y" * 600})
    with open_dataset(source) as pictures:
        source.write_bytes(source.read_bytes()[:1500])
        assert pictures[0].read() == b"x" * 600
        with pytest.raises(OSError, match="ends in the middle"):
            pictures[1].read()
