import logging
from pathlib import Path

import numpy as np
import pytest

from agent.errors import DatasetError
from tests.trainer.shards import encoded, write_shard
from trainer.corpus import decode, read_shards


def test_shards_are_read_in_the_order_of_their_names_and_classes_are_numbered_anew(tmp_path: Path) -> None:
    write_shard(tmp_path / "b.npz", [encoded(7, 5, 1)], [40], [0])
    write_shard(tmp_path / "a.npz", [encoded(4, 4, 2), encoded(6, 3, 3, "L")], [300, 40], [0, 1])
    corpus = read_shards(tmp_path)
    assert [picture.shape for picture in corpus.pictures] == [(4, 4, 3), (3, 6, 3), (5, 7, 3)]
    assert corpus.class_ids.tolist() == [40, 300]
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
    assert corpus.class_ids.tolist() == [1, 4]
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
    np.savez(tmp_path / "a.npz", data=np.zeros(3, np.uint8), offsets=[0, 9], label=[1], val=[0])
    with pytest.raises(DatasetError, match="do not fit"):
        read_shards(tmp_path)


def test_a_corpus_without_any_readable_picture_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.npz", [b"x"], [1], [0])
    with pytest.raises(DatasetError, match="no picture"):
        read_shards(tmp_path)


def test_gray_and_transparent_pictures_become_rgb() -> None:
    for mode in ("L", "RGBA", "P"):
        assert decode(encoded(3, 2, mode=mode)).shape == (2, 3, 3)
    with pytest.raises(ValueError, match="identify"):
        decode(b"no picture")
