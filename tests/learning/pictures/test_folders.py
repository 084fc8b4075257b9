"""What the folders above a picture say of it."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import DatasetError
from agent.learning.pictures.folders import arrangement
from agent.learning.pictures.labelled import split_named

SAID = tuple[str, str | None]


def said(*names: str) -> dict[str, SAID]:
    """Of each picture that has a label: its label and split."""
    paths = [tuple(name.split("/")) for name in names]
    places = {"/".join(parts): arrangement("S", paths).place(parts) for parts in paths}
    return {name: (place.label, place.split) for name, place in places.items() if place.label is not None}


def labels(*names: str) -> set[SAID]:
    return set(said(*names).values())


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("Train", "Val", "Test"),
        ("TRAIN", "VALID", "TEST"),
        ("Training", "Validation", "Testing"),
        ("training_set", "validation_set", "test_set"),
        ("Training Set", "dev-set", "TestSet"),
        ("train_images", "val_images", "test_images"),
        ("seg_train", "seg_val", "seg_test"),
        ("train2017", "val2017", "test1"),
        ("flowers-train", "flowers-dev", "flowers-test"),
    ],
)
def test_the_usual_names_of_splits_are_splits_in_any_case(train: str, val: str, test: str) -> None:
    expected: set[tuple[str, str]] = set()
    names = []
    for folder, split in ((train, "train"), (val, "val"), (test, "test")):
        names += [f"{folder}/glass/1.jpg", f"{folder}/paper/2.jpg"]
        expected |= {("glass", split), ("paper", split)}
    assert labels(*names) == expected
    assert labels(*(f"outer/deep/{name}" for name in names)) == expected
    assert labels(*(f"{name.partition('/')[0]}/{name}" for name in names)) == expected  # training_set/training_set/cats


@pytest.mark.parametrize("test", ["test", "Testing", "test_set"])
def test_train_and_test_alone_are_splits(test: str) -> None:
    assert labels("Train/a/1.jpg", "Train/b/2.jpg", f"{test}/a/3.jpg") == {
        ("a", "train"),
        ("b", "train"),
        ("a", "test"),
    }


def test_training_pictures_alone_are_a_split() -> None:
    assert labels("train/a/1.jpg", "train/b/2.jpg") == {("a", "train"), ("b", "train")}


def test_a_foreign_folder_beside_splits_is_named_and_left_out() -> None:
    names = ["train/a/1.jpg", "train/b/2.jpg", "val/a/3.jpg"]
    for foreign in ("pred/4.jpg", "pred/pred/4.jpg", "extra/a/4.jpg"):
        assert set(said(*names, foreign)) == set(names)
        arranged = arrangement("S", [tuple(name.split("/")) for name in (*names, foreign)])
        folder = foreign.partition("/")[0]
        assert folder in arranged.place(tuple(foreign.split("/"))).why
    assert set(said("train/a/1.jpg", "train/b/2.jpg", "pred/3.jpg")) == {"train/a/1.jpg", "train/b/2.jpg"}


def test_pictures_that_lie_flat_in_a_split_are_called_by_their_class() -> None:
    names = ["training/glass.3f2a.jpg", "training/paper.1.x.png", "testing/glass.9.jpg"]
    assert said(*names) == {names[0]: ("glass", "train"), names[1]: ("paper", "train"), names[2]: ("glass", "test")}
    assert labels(*(f"export/{name}" for name in names)) == {("glass", "train"), ("paper", "train"), ("glass", "test")}


def test_a_split_that_lies_flat_and_names_no_class_is_left_out() -> None:
    assert labels("train/cat.0.jpg", "train/dog.0.jpg", "test/1.jpg", "test/2.jpg") == {
        ("cat", "train"),
        ("dog", "train"),
    }


@pytest.mark.parametrize(
    "names", [("train/1.jpg", "test/2.jpg"), ("Train/1.jpg",), ("train/img.1.jpg", "val/img.2.jpg")]
)
def test_splits_without_classes_are_refused_and_learnt_as_none(names: tuple[str, ...]) -> None:
    with pytest.raises(DatasetError, match=r"S: .*rain.*no class folders.*\.csv"):
        said(*names)


def test_a_split_and_what_may_be_another_is_asked_about() -> None:
    with pytest.raises(DatasetError, match="not holdout beside it"):
        said("train/a/1.jpg", "train/b/2.jpg", "holdout/a/3.jpg")
    with pytest.raises(DatasetError, match="not holdout beside it"):
        said("train/a.1.jpg", "train/b.2.jpg", "holdout/3.jpg")


@pytest.mark.parametrize(
    "names",
    [
        ("test/1.jpg", "other/2.jpg"),
        ("val/1.jpg", "test/2.jpg", "glass/3.jpg"),
        ("train/1.jpg", "plane/2.jpg"),
        ("train/1.jpg", "train/old/2.jpg", "plane/3.jpg"),
        ("train/1.jpg", "test/2.jpg", "plane/3.jpg"),
        ("training/1.jpg", "match/2.jpg", "match/deep/3.jpg"),
        ("model_train/1.jpg", "model_boat/2.jpg"),
        ("test/a/1.jpg", "other/b/2.jpg"),
    ],
)
def test_classes_may_be_called_as_splits_are(names: tuple[str, ...]) -> None:
    assert said(*names) == {name: (name.partition("/")[0], None) for name in names}


@pytest.mark.parametrize("outer", ["mine/", "a/b/c/"])
def test_folders_around_it_all_are_no_classes_and_what_is_beside_the_classes_is_stray(outer: str) -> None:
    inside = [f"{outer}glass/1.jpg", f"{outer}paper/2.jpg", f"{outer}paper/deep/3.jpg"]
    assert labels(*inside) == {("glass", None), ("paper", None)}
    for stray in ("preview.jpg", f"{outer}preview.jpg", f"{outer.split('/')[0]}/preview.jpg"):
        assert set(said(*inside, stray)) == set(inside)
    train = [f"{outer}train/a/1.jpg", f"{outer}train/b/2.jpg", f"{outer}val/a/3.jpg"]
    for stray in (f"{outer}preview.jpg", f"{outer}train/preview.jpg"):
        assert set(said(*train, stray)) == set(train)


def test_times_in_names_are_no_classes() -> None:
    with pytest.raises(DatasetError, match="no class folders"):
        said(*(f"train/1700000{n:03d}.25.jpg" for n in range(20)), "val/1700000100.25.jpg")


def test_a_folder_in_a_class_may_be_called_as_a_split_is() -> None:
    assert labels("glass/1.jpg", "glass/2.jpg", "glass/train/3.jpg") == {("glass", None)}


def test_splits_in_class_folders_are_splits_where_all_lie_so() -> None:
    names = ["glass/train/1.jpg", "glass/Test/2.jpg", "paper/train/3.jpg"]
    expected = {("glass", "train"), ("glass", "test"), ("paper", "train")}
    assert labels(*names) == labels(*(f"mine/{name}" for name in names)) == expected
    for other in ("paper/4.jpg", "paper/old/4.jpg"):
        assert labels(*names, other) == {("glass", None), ("paper", None)}


def test_one_class_alone_keeps_what_lies_deeper_in_it() -> None:
    assert labels("glass/1.jpg", "glass/old/2.jpg") == {("glass", None)}
    assert labels("glass/1.jpg", "glass/2.jpg", "glass/3.jpg", "glass/x/4.jpg", "glass/y/5.jpg") == {("glass", None)}


def test_names_of_teachable_machine_say_the_class_wherever_they_lie() -> None:
    assert labels("Class 1-!-0.jpg", "Class 2-!-0.jpg") == {("Class 1", None), ("Class 2", None)}
    assert labels("mine/Class 1-!-0.jpg", "mine/Class 2-!-0.jpg") == {("Class 1", None), ("Class 2", None)}


NAMES = st.sampled_from(["train", "Test", "val", "pred", "glass", "paper", "a.1.jpg", "b.2.jpg", "c.jpg", "x-!-1.jpg"])


@given(st.lists(st.lists(NAMES, min_size=1, max_size=5).map(tuple), unique=True, max_size=12), st.randoms())
def test_whatever_the_names_every_picture_has_a_label_or_a_reason_and_the_order_does_not_matter(
    paths: list[tuple[str, ...]], chance: random.Random
) -> None:
    try:
        arranged = arrangement("S", paths)
    except DatasetError as error:
        assert str(error).startswith("S: ")
        return
    mixed = arrangement("S", chance.sample(paths, len(paths)))
    for parts in paths:
        place = arranged.place(parts)
        assert (place.label is None) == bool(place.why)
        assert place.label != "" and place == mixed.place(parts)
        assert place.split is None or split_named(next(part for part in parts if split_named(part))) is not None


def test_what_no_split_is_called_is_none() -> None:
    assert [split_named(name) for name in ("pred", "tests", "trains", "", "glass", "test tube")] == [None] * 6
    assert Path("x") and split_named(" VALID ") == "val"
