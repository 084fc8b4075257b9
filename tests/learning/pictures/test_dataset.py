import os
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import DatasetError
from agent.learning.pictures.dataset import open_dataset
from tests.learning.pictures.complaining import complaints


def listed(source: Path) -> list[tuple[str, str | None, bytes]]:
    with open_dataset(source) as pictures:
        return sorted(((picture.label, picture.split, picture.read()) for picture in pictures), key=str)


def write(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def test_class_folders_give_labels(tmp_path: Path) -> None:
    write(tmp_path, "glass/a.jpg", "glass/b.PNG", "paper/deep/c.jpeg", "paper/notes.txt", ".git/d.jpg", "loose.jpg")
    assert listed(tmp_path) == [
        ("glass", None, b"glass/a.jpg"),
        ("glass", None, b"glass/b.PNG"),
        ("paper", None, b"paper/deep/c.jpeg"),
    ]


def test_train_and_val_folders_give_splits(tmp_path: Path) -> None:
    write(tmp_path, "train/glass/a.jpg", "val/glass/b.jpg", "test/paper/c.jpg")
    assert listed(tmp_path) == [
        ("glass", "train", b"train/glass/a.jpg"),
        ("glass", "val", b"val/glass/b.jpg"),
        ("paper", "test", b"test/paper/c.jpg"),
    ]


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    write(tmp_path, "test/a.jpg", "other/b.jpg")
    assert [label for label, _, _ in listed(tmp_path)] == ["other", "test"]


def archive(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, name)
    return path


def test_an_archive_of_class_folders(tmp_path: Path) -> None:
    source = archive(tmp_path / "a.zip", "glass/a.jpg", "paper/b.jpg", "__MACOSX/glass/._a.jpg")
    assert listed(source) == [("glass", None, b"glass/a.jpg"), ("paper", None, b"paper/b.jpg")]


def test_an_archive_of_a_folder_of_class_folders(tmp_path: Path) -> None:
    source = archive(tmp_path / "a.zip", "mine/train/glass/a.jpg", "mine/val/paper/b.jpg")
    assert listed(source) == [("glass", "train", b"mine/train/glass/a.jpg"), ("paper", "val", b"mine/val/paper/b.jpg")]


def test_a_teachable_machine_project(tmp_path: Path) -> None:
    source = archive(tmp_path / "project.tm", "manifest.json", "Class 1-!-0.jpg", "Class 1-!-1.jpg", "大-!-0.png")
    assert [label for label, _, _ in listed(source)] == ["Class 1", "Class 1", "大"]


def test_a_member_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.learning.pictures.archive.MAX_PICTURE_BYTES", 5)
    source = archive(tmp_path / "a.zip", "glass/a.jpg")
    with open_dataset(source) as (picture,), pytest.raises(OSError, match="unpacks to 11 bytes"):
        picture.read()


def test_a_list_gives_labels_and_splits(tmp_path: Path) -> None:
    write(tmp_path, "x/a.jpg", "x/b.jpg", "x/c.jpg")
    source = tmp_path / "split.csv"
    source.write_text("file,class,split,source\nx/a.jpg,glass,train,1\nx/b.jpg,paper,Validation,2\nx/c.jpg,paper,,3\n")
    assert set(listed(source)) == {
        ("glass", "train", b"x/a.jpg"),
        ("paper", "val", b"x/b.jpg"),
        ("paper", None, b"x/c.jpg"),
    }


def test_val_and_test_come_before_train(tmp_path: Path) -> None:
    source = tmp_path / "split.csv"
    source.write_text("file,class,split\na,x,train\nb,x,test\nc,x,train\nd,x,val\n")
    with open_dataset(source) as pictures:
        assert [picture.split for picture in pictures] == ["test", "val", "train", "train"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1"),
        ("name,label\na,b\n", "line 1.*file,class"),
        ("file,class\n,glass\n", "line 2.*file is empty"),
        ("file,class\na.jpg,glass\nb.jpg,\n", "line 3.*label must not be empty"),
        ("file,class\na.jpg,x\ty\n", "line 2.*control"),
        ("file,class,split\na.jpg,glass,trian\n", "line 2.*'trian'"),
    ],
)
def test_a_bad_list_is_refused_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    source = tmp_path / "bad.csv"
    source.write_text(text)
    with pytest.raises(DatasetError, match=complaint), open_dataset(source):
        pass


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    for name, complaint in [("text.txt", "no folder"), ("gone", "no such file"), ("empty", "no pictures in class")]:
        with pytest.raises(DatasetError, match=complaint), open_dataset(tmp_path / name):
            pass


def unreadable(source: Path) -> dict[str, str]:
    """The pictures that cannot be read, by the ends of their names, and why; every other one is what it is called."""
    found = {}
    with open_dataset(source) as pictures:
        for picture in pictures:
            name = picture.name.rpartition("/")[2]
            try:
                assert picture.read() == name.encode()
            except OSError as error:
                found[name] = str(error)
    return found


def test_what_is_no_regular_file_or_too_large_fails_by_itself_and_the_rest_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "pictures" / "glass"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"a.jpg")
    os.mkfifo(folder / "fifo.jpg")
    (folder / "device.jpg").symlink_to("/dev/zero")
    (folder / "sparse.jpg").touch()
    os.truncate(folder / "sparse.jpg", 20 << 30)
    wrong = {
        "fifo.jpg": "it is a FIFO",
        "device.jpg": "it is a device",
        "sparse.jpg": "it has 21474836480 bytes",
    }
    source = tmp_path / "list.csv"
    source.write_text("file,class\n" + "".join(f"pictures/glass/{name},x\n" for name in ("a.jpg", *wrong)))
    for each in (tmp_path / "pictures", source):
        found = unreadable(each)
        assert found.keys() == wrong.keys()
        assert all(wrong[name] in found[name] for name in wrong)


def test_a_name_that_no_file_can_have_fails_by_itself(tmp_path: Path) -> None:
    source = tmp_path / "list.csv"
    source.write_text(f"file,class\nx/{'n' * 300}.jpg,a\n.,a\n")
    assert unreadable(source).keys() == {f"{'n' * 300}.jpg", tmp_path.name}


@pytest.mark.parametrize("make", ["fifo", "device", "sparse"])
def test_a_list_that_never_ends_is_refused(tmp_path: Path, make: str) -> None:
    source = tmp_path / "list.csv"
    if make == "fifo":
        os.mkfifo(source)
    elif make == "device":
        source.symlink_to("/dev/zero")
    else:
        source.touch()
        os.truncate(source, 20 << 30)
    with pytest.raises(DatasetError, match="cannot be read as a list: .*(FIFO|device|21474836480 bytes)"):
        listed(source)


def forged(path: Path, size: int, said: int, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A picture of `size` zero bytes that says both in front of it and in the directory that it has another size."""
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("glass/honest.jpg", "honest.jpg")
        file.writestr("glass/a.jpg", bytes(size))
    content = path.read_bytes().replace(struct.pack("<I", size), struct.pack("<I", said))
    path.write_bytes(content)
    return path


def test_an_entry_that_lies_about_its_size_unpacks_to_no_more_than_it_says(tmp_path: Path) -> None:
    source = forged(tmp_path / "a.zip", 200 << 20, 1000)
    tracemalloc.start()
    found = unreadable(source)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == {"a.jpg": "it cannot be unpacked: Bad CRC-32 for file 'glass/a.jpg'"}
    assert peak < 8 << 20


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_entry_that_can_only_be_unpacked_as_a_whole_is_refused(tmp_path: Path, method: int) -> None:
    found = unreadable(forged(tmp_path / "a.zip", 200 << 20, 1000, method))
    assert all("neither stored nor deflated" in why for why in found.values())
    assert found.keys() == {"honest.jpg", "a.jpg"}


def test_a_directory_that_says_it_is_gigabytes_long_is_not_read(tmp_path: Path) -> None:
    source = archive(tmp_path / "a.zip", "glass/a.jpg")
    size = 20 << 30
    with source.open("r+b") as file:
        file.truncate(size)
        file.seek(size)
        file.write(struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, 0))
        file.write(struct.pack("<4sIQI", b"PK\6\7", 0, size, 1))
        file.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))
    with pytest.raises(DatasetError, match=r"a\.zip cannot be read as a \.zip: .*at most"):
        listed(source)


def test_a_picture_below_thousands_of_folders_is_found(tmp_path: Path) -> None:
    assert listed(archive(tmp_path / "a.zip", "a/" * 5000 + "b.jpg", "a/" * 5000 + "c.jpg"))[0][0] == "a"


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_is_changed_in_an_archive_is_said_in_words(tmp_path: Path, data: st.DataObject) -> None:
    source = archive(tmp_path / "a.zip", "glass/a.jpg", "paper/b.jpg")
    content = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    source.write_bytes(content)
    of_the_file, of_pictures = complaints(source)
    assert all(source.name in said for said in of_the_file)
    assert all(of_pictures)
