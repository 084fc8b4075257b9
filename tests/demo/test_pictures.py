"""Which pictures the demo shows, and which it holds back."""

import io
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from agent.errors import DatasetError
from agent.learning.pictures.labelled import LabelledPicture
from agent.records import Split
from demo.pictures import HELD_OUT, LABELLED, choose, open_pictures, png


def _picture(label: str, payload: bytes, split: Split | None = None) -> LabelledPicture:
    return LabelledPicture(f"{label}/{payload.decode()}", label, split, lambda: payload)


def _pictures(labels: str, count: int) -> list[LabelledPicture]:
    return [_picture(label, f"{label}{i}".encode()) for label in labels for i in range(count)]


def test_no_picture_is_both_labelled_and_held_out() -> None:
    with open_pictures(None, seed=0) as pictures:
        labelled = {picture.read() for picture in pictures.labelled}
        held_out = {picture.read() for picture in pictures.held_out}
    assert len(labelled) == len(pictures.labelled) and len(held_out) == len(pictures.held_out)
    assert not labelled & held_out


def test_every_class_of_scikit_learn_is_in_both_parts() -> None:
    with open_pictures(None, seed=0) as pictures:
        labelled = Counter(picture.label for picture in pictures.labelled)
        held_out = Counter(picture.label for picture in pictures.held_out)
    assert len(labelled) == 12 and labelled.keys() == held_out.keys()
    assert min(labelled.values()) >= 30 and min(held_out.values()) >= 10


def test_a_copy_under_another_name_is_used_once() -> None:
    copies = [_picture("a", b"same") for _ in range(10)] + [_picture("b", b"same") for _ in range(10)]
    chosen = choose(copies + _pictures("ab", 8), seed=0)
    payloads = [picture.read() for picture in chosen.labelled + chosen.held_out]
    assert Counter(payloads)[b"same"] == 1


def test_what_a_list_calls_val_or_test_is_never_labelled() -> None:
    splits: tuple[Split, ...] = ("train", "val", "test")
    pictures = [_picture(label, f"{label}{i}".encode(), splits[i % 3]) for label in "ab" for i in range(30)]
    chosen = choose(pictures, seed=0)
    assert {picture.split for picture in chosen.labelled} == {"train"}
    assert {picture.split for picture in chosen.held_out} == {"val", "test"}


def test_a_large_folder_is_not_shown_in_full() -> None:
    chosen = choose(_pictures("abcd", 2000), seed=0)
    assert (len(chosen.labelled), len(chosen.held_out)) == (LABELLED, HELD_OUT)


def test_the_seed_decides() -> None:
    def names(seed: int) -> list[str]:
        return [picture.name for picture in choose(_pictures("abc", 40), seed).labelled]

    assert names(1) == names(1)
    assert names(1) != names(2)


@pytest.mark.parametrize("pictures", [_pictures("a", 20), _pictures("ab", 3)])
def test_too_little_to_show_is_refused(pictures: list[LabelledPicture]) -> None:
    with pytest.raises(DatasetError):
        choose(pictures, seed=0)


def test_a_picture_that_cannot_be_read_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    def torn() -> bytes:
        raise OSError("no such disk")

    chosen = choose([LabelledPicture("a/torn", "a", None, torn), *_pictures("ab", 8)], seed=0)
    assert "a/torn" not in [picture.name for picture in chosen.labelled + chosen.held_out]
    assert "a/torn: cannot be read, left out: no such disk" in capsys.readouterr().err


_SHAPES = st.tuples(st.integers(1, 20), st.integers(1, 20)) | st.tuples(
    st.integers(1, 20), st.integers(1, 20), st.just(3)
)


@given(arrays.arrays(np.uint8, _SHAPES))
def test_another_library_reads_the_same_pixels(pixels: NDArray[np.uint8]) -> None:
    with Image.open(io.BytesIO(png(pixels))) as image:
        image.load()
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), pixels)
