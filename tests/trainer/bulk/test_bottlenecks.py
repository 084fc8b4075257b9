import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.cache import Cache, Layout
from agent.errors import StateError
from agent.learning.pictures.dataset import open_dataset
from agent.learning.pictures.labelled import LabelledPicture
from agent.learning.training.examples import HELD_BACK, VAL
from agent.reporting.timing import Timings
from agent.state.state import State, open_state
from agent.vision.bundle import DEFAULT, SHIPPED
from tests.conftest import encoded
from tests.daemon import lastlayer
from tests.trainer.bulk.corpora import contents, write_corpus
from tests.vision.test_bundle import NETWORKS
from trainer.bulk import bottlenecks
from trainer.bulk.bottlenecks import Collector, block_for, collect, in_order, named, sent
from trainer.bulk.embedding import Embedded, Embedder, Picture, joined
from trainer.bulk.ledger import Ledger

COUNT = 30


class Crash(Exception):
    pass


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, photographs: list[np.ndarray]) -> Path:
    if not (SHIPPED / DEFAULT / "manifest.json").is_file():
        pytest.skip(f"no models/{DEFAULT}: this test needs the backbone that ships with Lastlayer")
    return write_corpus(tmp_path_factory.mktemp("bulk") / "corpus", photographs, COUNT)


@pytest.fixture(scope="module")
def pictures(corpus: Path) -> list[LabelledPicture]:
    with open_dataset(corpus) as found:
        return in_order(found)


@pytest.fixture(scope="module")
def answers(pictures: list[LabelledPicture], tmp_path_factory: pytest.TempPathFactory) -> list[Embedded]:
    """To each picture by itself."""
    embedder = Embedder(open_state(tmp_path_factory.mktemp("embedder")).bundle)
    return [embedder([picture.read]) for picture in pictures]


def run(
    out: Path,
    pictures: Sequence[LabelledPicture],
    answers: Sequence[Embedded],
    end_after: int | None = None,
    block: int = 7,
) -> Ledger:
    """A run over what is left; it crashes after so many answers."""
    state = open_state(out)
    timings = Timings(node="test", runtime="test", role="trainer")

    def left(ledger: Ledger) -> list[Embedded]:
        rest = list(answers[ledger.account.done :])
        blocks = [rest[first : first + block] for first in range(0, len(rest), block)]
        merged = []
        for each in blocks:
            whole = each[0]
            for one in each[1:]:
                whole = joined(whole, one)
            merged.append(whole)
        return merged

    with state.cache(state.backbone()) as cache:
        ledger = Ledger(out, pictures, cache.latest_ms())
        collector = Collector(cache, ledger, pictures, timings)
        for number, answer in enumerate(left(ledger)):
            if number == end_after:
                raise Crash
            collector.take(answer)
        collect([], collector, print)
    return ledger


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, pictures: list[LabelledPicture], answers: list[Embedded]
) -> tuple[Path, Ledger]:
    out = tmp_path_factory.mktemp("whole")
    return out, run(out, pictures, answers)


def test_every_picture_is_accounted_for(whole: tuple[Path, Ledger], pictures: list[LabelledPicture]) -> None:
    out, ledger = whole
    account = ledger.account
    assert account.pictures == account.done == len(pictures) == 2 * COUNT + 2
    assert (account.unreadable, account.known, account.contradicting) == (2, 1, 1)
    assert account.added == len(contents(out)) == 2 * COUNT - 2
    lines = (out / "skipped.csv").read_text().splitlines()
    assert lines[0] == "file,class,reason"
    assert len(lines) == 1 + 3
    assert any("torn or damaged" in line and f"china/{COUNT // 2:03d}.jpg,china" in line for line in lines)
    assert any("with another label" in line for line in lines)


def test_a_picture_for_which_the_network_has_no_numbers_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    shades = {"black": 0, "gray": 100, "white": 255}
    for name, shade in shades.items():
        (tmp_path / "corpus" / name).mkdir(parents=True)
        payload = encoded(np.full((16, 16, 3), shade, np.uint8), "PNG")
        (tmp_path / "corpus" / name / "one.png").write_bytes(payload)
    state = open_state(tmp_path / "out", str(NETWORKS / "logarithm.tflite"))
    timings = Timings(node="test", runtime="test", role="trainer")
    with open_dataset(tmp_path / "corpus") as found:
        pictures = in_order(found)
        answer = Embedder(state.bundle)([picture.read for picture in pictures])
    made_elsewhere = replace(answer, errors={})  # as by Keras: nobody has looked at the bottlenecks
    place = next(iter(answer.errors))
    made_elsewhere.bottlenecks[place] = -np.inf
    made_elsewhere.frame_ids[place] = "00000000000000aa"
    for out, given in (("out", answer), ("other", made_elsewhere)):
        with Cache(tmp_path / out / "cache", layout_of(state)) as cache:
            ledger = Ledger(tmp_path / out, pictures, 0)
            collect([given], Collector(cache, ledger, pictures, timings), print)
            assert (len(cache), ledger.account.unreadable) == (2, 1)
        assert "no finite numbers" in (tmp_path / out / "skipped.csv").read_text()


def layout_of(state: State) -> Layout:
    backbone = state.backbone()
    return Layout.of(backbone.backbone_id, backbone.size, backbone.dtype.name, backbone.scale, backbone.zero_point)


def test_classes_come_mixed_and_named_validation_first(tmp_path: Path) -> None:
    read = Path("x").read_bytes
    listed = [LabelledPicture(f"{n}", f"{n // 50}", None if n % 10 else "val", read) for n in range(200)]
    order = in_order(listed)
    assert [picture.split for picture in order] == ["val"] * 20 + [None] * 180
    labels = [picture.label for picture in order]
    assert len(set(labels[20:40])) == 4
    assert order == in_order(listed)


@pytest.mark.parametrize("seed", range(8))
def test_ended_at_any_instant_and_resumed_it_holds_the_same(
    seed: int,
    tmp_path: Path,
    whole: tuple[Path, Ledger],
    pictures: list[LabelledPicture],
    answers: list[Embedded],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ended between two blocks, or between what is on flash and the progress that says so, by blocks of any size."""
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(bottlenecks, "GROUP", int(rng.integers(1, 12)))
    real_commit = Ledger.commit
    for _ in range(12):
        countdown = [int(rng.integers(1, 4))]

        def commit(ledger: Ledger, countdown: list[int] = countdown) -> None:
            countdown[0] -= 1
            if not countdown[0] and rng.random() < 0.5:
                raise Crash
            real_commit(ledger)

        monkeypatch.setattr(Ledger, "commit", commit)
        try:
            run(tmp_path, pictures, answers, int(rng.integers(0, 4)), block=int(rng.integers(1, 9)))
        except Crash:
            continue
    monkeypatch.setattr(Ledger, "commit", real_commit)
    resumed = run(tmp_path, pictures, answers)
    out, ledger = whole
    assert contents(tmp_path) == contents(out)
    assert (tmp_path / "skipped.csv").read_bytes() == (out / "skipped.csv").read_bytes()
    counts = ("added", "known", "contradicting", "unreadable", "done")
    assert [getattr(resumed.account, name) for name in counts] == [getattr(ledger.account, name) for name in counts]


def test_a_corpus_that_has_grown_adds_what_is_new(
    tmp_path: Path, pictures: list[LabelledPicture], answers: list[Embedded], whole: tuple[Path, Ledger]
) -> None:
    run(tmp_path, pictures[:20], answers[:20])
    ledger = run(tmp_path, pictures, answers)
    assert ledger.account.known >= 18
    assert {found[0] for found in contents(tmp_path)} == {found[0] for found in contents(whole[0])}


def test_a_full_disk_ends_it_with_a_message_and_it_goes_on_later(
    tmp_path: Path,
    pictures: list[LabelledPicture],
    answers: list[Embedded],
    whole: tuple[Path, Ledger],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bottlenecks, "GROUP", 8)
    appended = Cache.append
    calls = iter(range(100))

    def full(cache: Cache, examples: Sequence[object]) -> None:
        if next(calls) > 2:
            raise StateError("the cache cannot be written: No space left on device")
        appended(cache, examples)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Cache, "append", full)
        with pytest.raises(StateError, match="No space left"):
            run(tmp_path, pictures, answers)
    assert 0 < len(contents(tmp_path)) < len(contents(whole[0]))
    run(tmp_path, pictures, answers)
    assert contents(tmp_path) == contents(whole[0])


def test_the_folder_is_a_state_that_can_be_retrained(whole: tuple[Path, Ledger], tmp_path: Path) -> None:
    ended = lastlayer("--state", whole[0], "--json", "retrain")
    assert json.loads(ended.stdout)["top1"] >= 0.5


def test_pictures_that_are_sent_are_bounded_by_their_bytes_and_a_failure_travels_with_its_block() -> None:
    def broken() -> bytes:
        raise OSError("gone")

    listed = [LabelledPicture(str(n), "a", None, lambda: bytes(1 << 20)) for n in range(9)]
    listed[2] = LabelledPicture("2", "a", None, broken)
    blocks: list[Sequence[Picture]] = list(sent(listed, 64))
    assert [len(block) for block in blocks] == [5, 4]
    failing = blocks[0][2]
    assert callable(failing)
    with pytest.raises(OSError, match="gone"):
        failing()
    assert [len(block) for block in named(listed, 4)] == [4, 4, 1]


def test_a_small_corpus_is_cut_so_that_every_worker_has_enough_to_do() -> None:
    assert block_for(1_000_000, 64) == block_for(2048, 2) == bottlenecks.BLOCK
    assert block_for(660, 2) == 20
    assert block_for(3, 8) == 1


def test_empty_class_folders_are_found(corpus: Path) -> None:
    with open_dataset(corpus) as found:
        assert [(one.name, one.label) for one in found.left_out] == [(f"{corpus}/nothing", "nothing")]
        assert found.missing() == {"nothing": f"the folder is empty ({corpus}/nothing)"}


def test_what_was_computed_before_goes_to_val_when_a_list_puts_it_there(
    tmp_path: Path, pictures: list[LabelledPicture], answers: list[Embedded]
) -> None:
    run(tmp_path, pictures, answers)
    before = {row[0]: row[2] for row in contents(tmp_path)}
    listed = [replace(picture, split="val" if number < 5 else None) for number, picture in enumerate(pictures)]
    account = run(tmp_path, listed, answers).account
    assert (account.added, account.contradicting) == (0, 1)
    after = {row[0]: row[2] for row in contents(tmp_path)}
    put = {int(answer.frame_ids[0], 16) for answer in answers[:5] if not answer.errors}
    assert before.keys() == after.keys()
    assert {after[number] for number in put} == {VAL}
    assert all(after[number] in (before[number], HELD_BACK) for number in after.keys() - put)
