"""What lies in folders as people have them, and what is said of what is not taken."""

import os
import stat
import zipfile
from pathlib import Path

import pytest

from agent.errors import DatasetError
from agent.learning.pictures.dataset import open_dataset
from agent.learning.pictures.leftout import LINES, MAX_GROUPS, MAX_NAMED, LeftOut, as_dicts, lines
from tests.learning.pictures.test_dataset import archive, listed, write


def left_out(source: Path) -> dict[str, tuple[str | None, str]]:
    """The class and the reason of what is left out, by its name below the source."""
    with open_dataset(source) as pictures:
        return {one.name.removeprefix(f"{source}/"): (one.label, one.reason) for one in pictures.left_out}


def missing(source: Path) -> set[str]:
    with open_dataset(source) as pictures:
        return set(pictures.missing())


def labels(source: Path) -> list[str]:
    return [label for label, _, _ in listed(source)]


SYSTEM = [
    "@eaDir/glass/SYNOPHOTO_THUMB_XL.jpg",
    "glass/@eaDir/a.jpg/THUMB.jpg",
    "$RECYCLE.BIN/S-1-5/$R1.jpg",
    "$Recycle.Bin/x.jpg",
    "System Volume Information/x.jpg",
    ".ipynb_checkpoints/a-checkpoint.jpg",
    "paper/.ipynb_checkpoints/a.jpg",
    "__MACOSX/glass/._a.jpg",
    "__pycache__/x.jpg",
    "lost+found/#12.jpg",
    ".Trash-1000/files/x.jpg",
    "#recycle/x.jpg",
    "@Recycle/x.jpg",
    ".git/x.jpg",
    ".thumbnails/normal/x.png",
    "glass/._a.jpg",
    "._glass/x.jpg",
    "glass/Thumbs.db",
    "glass/desktop.ini",
    "glass/.DS_Store",
]


def test_what_systems_leave_is_never_learnt_at_any_depth(tmp_path: Path) -> None:
    names = ["glass/a.jpg", "paper/b.jpg"]
    in_archive = archive(tmp_path / "a.zip", *names, *SYSTEM)
    in_folder = write(tmp_path / "folder", *names, *SYSTEM)
    in_splits = write(tmp_path / "splits", *(f"train/{name}" for name in [*names, *SYSTEM]))
    for source in (in_archive, in_folder, in_splits):
        assert labels(source) == ["glass", "paper"]
        assert left_out(source) == {}


@pytest.mark.parametrize("suffix", ["jfif", "JFIF", "jpe", "pjpeg", "JPG", "Png", "WEBP", "bmp"])
def test_a_picture_by_any_of_its_endings_is_one(tmp_path: Path, suffix: str) -> None:
    write(tmp_path, f"glass/a.{suffix}", "paper/b.jpg")
    assert labels(tmp_path) == ["glass", "paper"]


@pytest.mark.parametrize("suffix", ["heic", "HEIF", "avif", "gif", "tif", "TIFF", "cr2", "NEF", "dng", "raw", "mp4"])
def test_a_picture_in_another_format_is_counted_with_its_class(tmp_path: Path, suffix: str) -> None:
    write(tmp_path, f"glass/a.{suffix}", "paper/b.jpg", f"paper/c.{suffix}", f"d.{suffix}")
    reason = f".{suffix.lower()} is not read: make it a JPEG or PNG"
    assert left_out(tmp_path) == {
        f"glass/a.{suffix}": ("glass", reason),
        f"paper/c.{suffix}": ("paper", reason),
        f"d.{suffix}": (None, "it lies beside the class folders, in none"),
    }
    assert missing(tmp_path) == {"glass"}
    assert missing(archive(tmp_path / "a.zip", f"mine/glass/a.{suffix}", "mine/paper/b.jpg")) == {"glass"}


def test_a_class_of_which_nothing_can_be_taken_is_missing_whatever_lies_in_its_folder(tmp_path: Path) -> None:
    write(tmp_path, "paper/b.jpg", "glass/IMG_0001", "tin/Thumbs.db", "texts/about.txt", "texts/about.xml")
    (tmp_path / "wood").mkdir()
    (tmp_path / "cork").symlink_to("gone")
    assert missing(tmp_path) == {"glass", "tin", "wood", "cork"}
    assert {reason for _, reason in left_out(tmp_path).values()} == {
        "its name has no ending: call it .jpg or .png",
        "the folder is empty",
        "the link leads nowhere",
        "no picture lies in its folder",
    }
    assert left_out(tmp_path)["texts/about.txt"][0] is None  # these are no pictures of a class


def test_an_empty_class_folder_and_links_in_an_archive_are_named(tmp_path: Path) -> None:
    source = archive(tmp_path / "a.zip", "paper/", "paper/b.jpg", "glass/")
    with zipfile.ZipFile(source, "a") as file:
        for name, target in (("tin", "../../etc"), ("paper/c.jpg", "/etc/passwd"), ("paper/deep", "..")):
            link = zipfile.ZipInfo(name)
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            file.writestr(link, target)
    assert labels(source) == ["paper"]
    assert missing(source) == {"glass", "tin"}
    assert {name: label for name, (label, _) in left_out(source).items()} == {
        "glass": "glass",
        "tin": "tin",
        "paper/c.jpg": "paper",
        "paper/deep": "paper",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open any folder")
def test_a_folder_that_may_not_be_opened_is_named(tmp_path: Path) -> None:
    write(tmp_path, "paper/b.jpg", "glass/a.jpg")
    (tmp_path / "glass").chmod(0)
    try:
        assert left_out(tmp_path) == {"glass": ("glass", "it cannot be opened: Permission denied")}
    finally:
        (tmp_path / "glass").chmod(0o755)


def test_links_to_class_folders_and_pictures_are_followed(tmp_path: Path) -> None:
    store = write(tmp_path / "store", "g/a.jpg", "p/b.jpg", "c.jpg")
    source = write(tmp_path / "source", "paper/own.jpg")
    (source / "glass").symlink_to(store / "g")
    (source / "paper" / "more").symlink_to("../../store/p")
    (source / "paper" / "one.jpg").symlink_to(store / "c.jpg")
    assert listed(source) == [
        ("glass", None, b"g/a.jpg"),
        ("paper", None, b"c.jpg"),
        ("paper", None, b"p/b.jpg"),
        ("paper", None, b"paper/own.jpg"),
    ]
    assert left_out(source) == {}
    (tmp_path / "link").symlink_to(source)
    assert labels(tmp_path / "link") == labels(source)


def test_links_lead_to_no_circle_and_nothing_is_read_twice_through_them(tmp_path: Path) -> None:
    source = write(tmp_path / "source", "glass/a.jpg", "glass/deep/b.jpg", "paper/c.jpg")
    (source / "glass" / "again").symlink_to("deep")
    (source / "glass" / "0 before").symlink_to("deep")
    (source / "glass" / "self").symlink_to(".")
    (source / "glass" / "up").symlink_to("..")
    (source / "glass" / "far up").symlink_to("/")
    (source / "around").symlink_to(tmp_path)
    (source / "paper" / "knot").symlink_to("knot")
    assert [content for _, _, content in listed(source)] == [b"glass/a.jpg", b"glass/deep/b.jpg", b"paper/c.jpg"]
    assert left_out(source).keys() == {
        "glass/again",
        "glass/0 before",
        "glass/self",
        "glass/up",
        "glass/far up",
        "around",
        "paper/knot",
    }
    assert missing(source) == set()


def test_folders_that_are_all_linked_with_each_other_are_each_read_once_a_class(tmp_path: Path) -> None:
    for name in "abcdefghijkl":
        write(tmp_path, f"{name}/{name}.jpg")
        for other in "abcdefghijkl":
            (tmp_path / name / f"to {other}").symlink_to(f"../{other}")
    assert len(listed(tmp_path)) == 12 * 12


def test_splits_that_are_links_are_splits(tmp_path: Path) -> None:
    write(tmp_path / "all", "glass/a.jpg", "paper/b.jpg")
    source = tmp_path / "source"
    for split in ("train", "val"):
        (source / split).mkdir(parents=True)
    (source / "train" / "glass").symlink_to("../../all/glass")
    (source / "val" / "glass").symlink_to("../../all/glass")
    (source / "train" / "paper").symlink_to("../../all/paper")
    assert [(label, split) for label, split, _ in listed(source)] == [
        ("glass", "train"),
        ("glass", "val"),
        ("paper", "train"),
    ]


def test_a_stray_picture_and_a_foreign_folder_are_named(tmp_path: Path) -> None:
    write(tmp_path / "a", "mine/glass/a.jpg", "mine/paper/b.jpg", "mine/stray.jpg", "mine/notes.txt", "loose.jpg")
    assert labels(tmp_path / "a") == ["glass", "paper"]
    assert left_out(tmp_path / "a").keys() == {"mine/stray.jpg", "loose.jpg"}
    write(tmp_path / "b", "train/glass/a.jpg", "train/paper/b.jpg", "val/glass/c.jpg", "pred/1.jpg", "pred/2.jpg")
    assert labels(tmp_path / "b") == ["glass", "glass", "paper"]
    reason = "the folder pred is no split, as those beside it are"
    assert left_out(tmp_path / "b") == {"pred/1.jpg": (None, reason), "pred/2.jpg": (None, reason)}


def test_the_file_of_labels_of_an_export_of_edge_impulse_is_no_picture(tmp_path: Path) -> None:
    write(tmp_path, "info.labels", "training/glass.1a.jpg", "training/paper.2.jpg", "training/info.labels")
    write(tmp_path, "testing/glass.3.jpg", "README.txt")
    assert [(label, split) for label, split, _ in listed(tmp_path)] == [
        ("glass", "test"),
        ("glass", "train"),
        ("paper", "train"),
    ]
    assert left_out(tmp_path) == {}


def test_a_source_of_which_nothing_is_left_says_why(tmp_path: Path) -> None:
    write(tmp_path, "glass/a.heic", "paper/b.heic")
    with pytest.raises(DatasetError, match=r"(?s)no pictures in class folders.*of glass: \.heic is not read.*of paper"):
        listed(tmp_path)


def test_however_much_is_left_out_little_is_said() -> None:
    much = [LeftOut(f"{n}.heic", "not read", "glass") for n in range(9000)]
    assert lines(much) == ["left out: 9000 of glass: not read (0.heic, 1.heic, 2.heic, …)"]
    assert [(each["count"], len(each["names"])) for each in as_dicts(much)] == [(9000, MAX_NAMED)]
    many = [LeftOut(f"{n}", f"reason {n}") for n in range(9000)]
    assert len(lines(many)) == LINES + 1 and f"{9000 - LINES} more" in lines(many)[-1]
    assert len(as_dicts(many)) == MAX_GROUPS


def test_a_name_in_any_bytes_can_be_said(tmp_path: Path) -> None:
    write(tmp_path, "glass/a.jpg")
    (tmp_path / "glass" / os.fsdecode(b"\xff\n.heic")).touch()
    with open_dataset(tmp_path) as pictures:
        (line,) = lines(pictures.left_out)
    assert r"\xff\n.heic" in line and "\n" not in line
