import io
import logging
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agent.errors import DatasetError
from agent.vision.image import decode
from tests.trainer.making.shards import encoded, write_shard
from trainer.making.corpus import read_corpus, read_shards


def test_shards_are_read_in_the_order_of_their_names_and_classes_are_numbered_anew(tmp_path: Path) -> None:
    write_shard(tmp_path / "b.npz", [encoded(7, 5, 1)], [40], [0])
    write_shard(tmp_path / "a.npz", [encoded(4, 4, 2), encoded(6, 3, 3, "L")], [300, 40], [0, 1])
    corpus = read_shards(tmp_path)
    assert [picture.shape for picture in corpus.pictures] == [(4, 4, 3), (3, 6, 3), (5, 7, 3)]
    assert corpus.labels == ("40", "300")
    assert corpus.classes.tolist() == [1, 0, 0]
    assert corpus.train_rows.tolist() == [0, 2]
    assert corpus.validation_rows.tolist() == [1]
    assert corpus.unreadable == 0


def test_an_unreadable_picture_is_logged_and_counted_and_the_rest_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torn = encoded(20, 20)[:100]
    write_shard(tmp_path / "a.npz", [encoded(4, 4), torn, b"no picture", encoded(5, 5)], [1, 2, 3, 4], [0, 0, 0, 1])
    with caplog.at_level(logging.WARNING):
        corpus = read_shards(tmp_path)
    assert corpus.unreadable == 2
    assert [picture.shape[0] for picture in corpus.pictures] == [4, 5]
    assert corpus.labels == ("1", "4")
    assert [record.getMessage().split(" is skipped")[0][-9:] for record in caplog.records] == ["picture 1", "picture 2"]


def test_the_digest_follows_the_pictures(tmp_path: Path) -> None:
    digests = []
    for seed in (1, 2, 1):
        write_shard(tmp_path / "a.npz", [encoded(4, 4, seed)], [1], [0])
        digests.append(read_shards(tmp_path).digest)
    assert digests[0] == digests[2] != digests[1]


def test_a_missing_folder_an_empty_one_and_a_broken_shard_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere is no folder"):
        read_shards(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="holds no"):
        read_shards(tmp_path)
    np.savez(tmp_path / "a.npz", data=np.zeros(3, np.uint8))
    with pytest.raises(DatasetError, match=r"a\.npz lacks an array"):
        read_shards(tmp_path)
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(DatasetError, match="no readable npz shard"):
        read_shards(tmp_path)


def test_a_shard_whose_arrays_do_not_fit_is_refused(tmp_path: Path) -> None:
    for offsets in ([0, 9], [2, 1], [-3, 2]):
        np.savez(tmp_path / "a.npz", data=np.zeros(3, np.uint8), offsets=offsets, label=[1], val=[0])
        with pytest.raises(DatasetError, match="do not fit"):
            read_shards(tmp_path)


def test_a_corpus_without_any_readable_picture_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.npz", [b"x"], [1], [0])
    with pytest.raises(DatasetError, match="no picture"):
        read_shards(tmp_path)


def test_class_folders_are_a_corpus_too_and_large_pictures_are_shortened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for split, label, name in (("train", "cat", "a"), ("train", "dog", "b"), ("val", "cat", "c"), ("test", "dog", "d")):
        (tmp_path / split / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / split / label / f"{name}.png").write_bytes(encoded(40, 20, ord(name)))
    (tmp_path / "train" / "dog" / "torn.jpg").write_bytes(encoded(40, 20)[:50])
    with caplog.at_level(logging.WARNING):
        corpus = read_corpus(tmp_path, short_side=10)
    assert corpus.labels == ("cat", "dog")
    assert {picture.shape for picture in corpus.pictures} == {(10, 20, 3)}
    assert len(corpus.train_rows) == 2
    assert len(corpus.validation_rows) == 2  # what is for testing is not trained on either
    assert corpus.unreadable == 1
    assert "torn.jpg is skipped" in caplog.text


def test_a_folder_of_shards_is_read_as_such(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.npz", [encoded(4, 4), encoded(4, 4, 1)], [1, 2], [0, 1])
    assert read_corpus(tmp_path, 2).pictures[0].shape == (4, 4, 3)


def test_a_corpus_that_does_not_fit_into_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(encoded(40, 20))
    monkeypatch.setattr("trainer.making.corpus.free_bytes", lambda: 1000)
    with pytest.raises(DatasetError, match="GB of memory"):
        read_corpus(tmp_path, 20)


def test_pictures_are_decoded_as_the_board_decodes_them(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(np.full((4, 8), 30_000, np.uint16)).save(file, "PNG", exif=exif)
    write_shard(tmp_path / "a.npz", [file.getvalue()], [1], [0])
    (picture,) = read_shards(tmp_path).pictures
    np.testing.assert_array_equal(picture, decode(file.getvalue(), 4, 8))


def test_a_shard_that_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(DatasetError, match=r"a\.npz is no readable npz shard: it is a FIFO"):
        read_shards(tmp_path)


def test_a_shard_that_unpacks_to_more_than_there_is_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", data=np.zeros(1 << 20, np.uint8), offsets=[0, 9], label=[1], val=[0])
    monkeypatch.setattr("trainer.making.corpus.free_bytes", lambda: 1 << 20)
    with pytest.raises(DatasetError, match="do not fit into the memory that is free"):
        read_shards(tmp_path)


@pytest.mark.parametrize("shape", [b"(1, 5)", b"(), ", b"(99999999999999,)", b"((((((", b"(-1,)"])
def test_a_shard_whose_arrays_say_what_they_are_not_is_refused(tmp_path: Path, shape: bytes) -> None:
    write_shard(tmp_path / "a.npz", [encoded(4, 4)], [1], [0])
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    begin = members["offsets.npy"].index(b"(2,), }")
    header = members["offsets.npy"]
    members["offsets.npy"] = header[:begin] + shape + b", }" + header[begin + len(shape) + 3 :]
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(DatasetError, match=r"a\.npz"):
        read_shards(tmp_path)
