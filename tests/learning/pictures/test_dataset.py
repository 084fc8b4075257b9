import zipfile
from pathlib import Path

import pytest

from agent.errors import DatasetError
from agent.learning.pictures.dataset import open_dataset


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
    monkeypatch.setattr("agent.learning.pictures.dataset.MAX_PICTURE_BYTES", 5)
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
