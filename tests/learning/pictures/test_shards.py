import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import DatasetError
from agent.learning.pictures.dataset import open_dataset
from tests.learning.pictures.complaining import complaints


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


def test_what_systems_leave_is_no_sample_and_other_formats_are_counted(tmp_path: Path) -> None:
    source = tmp_path / "Training_Set"
    members = {
        "._0001.jpg": "x",
        "0001.jpg": "1",
        "0001.tif": "?",
        "0001.cls": "glass",
        "0002.heic": "2",
        "0002.cls": "tin",
    }
    shard(source / "0.tar", members | {"__MACOSX/a/._0003.jpg": "x", "0003.jfif": "3", "0003.cls": "glass"})
    (source / "._0.tar").write_text("no shard")
    for each in (tmp_path, source):
        assert listed(each) == [("glass", "train", "1"), ("glass", "train", "3")]
        with open_dataset(each) as pictures:
            assert pictures.missing().keys() == {"tin"}


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


def numbered(member: tarfile.TarInfo, size: int) -> bytes:
    """The header of a member that says it has that size, whatever comes behind it."""
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (size % (1 << 96)).to_bytes(12, "big")
    if size >= 0:
        header[124] = 0x80
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def test_a_member_that_is_too_large_fails_by_itself(tmp_path: Path) -> None:
    source = shard(tmp_path / "a.tar", {"a/1.jpg": "one"})
    content = source.read_bytes()[:1024] + numbered(tarfile.TarInfo("a/2.jpg"), 20 << 30)
    source.write_bytes(content)
    os.truncate(source, len(content) + (20 << 30) + 1024)
    with open_dataset(source) as (first, second):
        assert first.read() == b"one"
        with pytest.raises(OSError, match="it has 21474836480 bytes, the limit is 67108864"):
            second.read()


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
@pytest.mark.parametrize("size", [20 << 30, -512, 1 << 80])
def test_a_name_that_says_it_is_gigabytes_long_is_not_read(tmp_path: Path, kind: bytes, size: int) -> None:
    source = tmp_path / "a.tar"
    member = tarfile.TarInfo("a/1.jpg")
    member.type = kind
    source.write_bytes(numbered(member, size))
    os.truncate(source, 21 << 30)
    with pytest.raises(DatasetError, match=r"a\.tar cannot be read"):
        listed(source)


def test_members_that_lead_back_are_no_circle(tmp_path: Path) -> None:
    source = tmp_path / "a.tar"
    source.write_bytes(numbered(tarfile.TarInfo("a/1.jpg"), -512) + bytes(2048))
    with pytest.raises(DatasetError, match=r"a\.tar cannot be read as a tar archive"):
        listed(source)


def test_the_word_beside_a_picture_may_be_anything(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("glass\n")
    number = "1" * 6000
    with pytest.raises(DatasetError, match="a label may take 200 bytes"):
        listed(shard(tmp_path / "a.tar", {"1.jpg": "x", "1.cls": number}))
    with pytest.raises(DatasetError, match=r"1\.json cannot be read"):
        listed(shard(tmp_path / "b.tar", {"1.jpg": "x", "1.json": "[" * 100_000}))
    (tmp_path / "classes.txt").unlink()
    os.mkfifo(tmp_path / "classes.txt")
    with pytest.raises(DatasetError, match=r"classes\.txt cannot be read: .*FIFO"):
        listed(tmp_path / "a.tar")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_is_changed_in_a_shard_is_said_in_words(tmp_path: Path, data: st.DataObject) -> None:
    source = shard(tmp_path / "a.tar", {"a/1.jpg": "x", "b/2.jpg": "y"})
    content = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.sampled_from((0, 1024))) + data.draw(st.integers(0, 511))
        content[place] = data.draw(st.integers(0, 255))
        begin = place // 512 * 512
        content[begin + 148 : begin + 156] = b" " * 8
        content[begin + 148 : begin + 156] = b"%06o\0 " % sum(content[begin : begin + 512])
    source.write_bytes(content)
    of_the_file, of_pictures = complaints(source)
    assert all(source.name in said for said in of_the_file)
    assert all(of_pictures)
