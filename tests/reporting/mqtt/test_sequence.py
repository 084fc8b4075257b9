from pathlib import Path

from agent.reporting.mqtt.sequence import RESERVE, Sequence


def test_it_counts_from_one_for_each_topic() -> None:
    sequence = Sequence()
    assert [sequence.next("a"), sequence.next("a"), sequence.next("b")] == [1, 2, 1]


def test_it_goes_on_without_a_gap_after_an_orderly_end(tmp_path: Path) -> None:
    sequence = Sequence(tmp_path / "seq")
    sequence.reserve()
    for _ in range(3 * RESERVE):
        sequence.next("result")
    sequence.settle()
    again = Sequence(tmp_path / "seq")
    assert (again.next("result"), again.next("new")) == (3 * RESERVE + 1, 1)


def test_no_number_is_given_twice_after_a_kill(tmp_path: Path) -> None:
    given: dict[str, int] = {}
    for life in range(5):
        sequence = Sequence(tmp_path / "seq")
        sequence.reserve()
        for name in ("result", f"timing/{life}", "head"):
            for _ in range(7 + 900 * life):
                seq = sequence.next(name)
                assert seq > given.get(name, 0)
                given[name] = seq


def test_what_waits_on_flash_tells_what_was_given_since(tmp_path: Path) -> None:
    sequence = Sequence(tmp_path / "seq")
    sequence.next("result")
    sequence.settle()  # the broker is away from here on
    for _ in range(5):
        sequence.next("result")
    assert Sequence(tmp_path / "seq", highest={"result": 6}).next("result") == 7


def test_a_damaged_file_is_no_end(tmp_path: Path) -> None:
    (tmp_path / "seq").write_bytes(b"rubbish")
    assert Sequence(tmp_path / "seq", highest={"result": 6}).next("result") == 7


def test_it_is_seldom_written(tmp_path: Path) -> None:
    sequence = Sequence(tmp_path / "seq")
    sequence.reserve()
    before = (tmp_path / "seq").stat().st_ino
    for _ in range(RESERVE):
        sequence.next("result")
    assert (tmp_path / "seq").stat().st_ino == before
    sequence.next("result")
    assert (tmp_path / "seq").stat().st_ino != before
