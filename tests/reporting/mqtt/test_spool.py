import os
import tempfile
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import StateError
from agent.reporting.mqtt.spool import SEGMENT_BYTES, Report, Spool

DAY_S = 86_400.0


def opened(folder: Path, max_bytes: int = 1 << 20, max_age_s: float = DAY_S) -> Spool:
    return Spool(folder, max_bytes, max_age_s)


def report(seq: int, size: int = 10) -> Report:
    return Report("timing/decode", seq, b'{"x":"%s","seq":%d}' % (b"x" * size, seq))


def drained(spool: Spool) -> list[int]:
    seqs = []
    while (first := spool.at(0)) is not None:
        seqs.append(first.seq)
        spool.take()
    return seqs


def test_first_in_first_out_as_it_went_in(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    reports = [report(n, size=300) for n in range(1, 1001)]
    for each in reports:
        spool.append(each)
    assert len(spool) == 1000
    assert [spool.at(n) for n in range(1000)] == reports
    assert drained(spool) == list(range(1, 1001))
    assert (len(spool), spool.at(0), spool.dropped) == (0, None, 0)
    assert list(tmp_path.iterdir()) == []


def test_another_process_finds_what_waits_and_the_highest_numbers(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    for n in range(1, 501):
        spool.append(report(n, size=300))
    spool.append(Report("result", 7, b"{}"))
    # no close: the process was killed
    again = opened(tmp_path)
    assert len(again) == 501
    assert again.highest == {"timing/decode": 500, "result": 7}
    again.append(report(501))
    assert drained(again) == [*range(1, 501), 7, 501]


def test_what_was_taken_is_not_found_again_but_for_the_last_file(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    for n in range(1, 1001):
        spool.append(report(n, size=300))
    for _ in range(700):
        spool.at(0)
        spool.take()
    found = drained(opened(tmp_path))
    assert found == list(range(found[0], 1001))
    assert 700 - SEGMENT_BYTES // 300 < found[0] <= 701


def test_the_oldest_go_when_it_is_full_and_are_counted_exactly(tmp_path: Path) -> None:
    spool = opened(tmp_path, max_bytes=4 * SEGMENT_BYTES)
    gone = 0
    for n in range(1, 2001):
        gone += spool.trim()
        spool.append(report(n, size=300))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4 * SEGMENT_BYTES
    assert gone == spool.dropped > 0
    assert drained(spool) == list(range(gone + 1, 2001))


def test_what_is_dropped_while_it_is_being_read_is_gone_for_the_reader(tmp_path: Path) -> None:
    spool = opened(tmp_path, max_bytes=2 * SEGMENT_BYTES)
    spool.append(report(1, size=40_000))
    spool.append(report(2, size=40_000))
    first = spool.at(0)
    assert first is not None and first.seq == 1
    assert spool.trim() == 1
    assert drained(spool) == [2]


def test_what_is_too_old_goes(tmp_path: Path) -> None:
    now = 1000.0
    spool = Spool(tmp_path, 1 << 20, max_age_s=60.0, clock=lambda: now)
    spool.append(report(1, size=40_000))
    now += 50
    spool.append(report(2, size=40_000))
    assert spool.trim() == 0
    now += 20
    assert spool.trim() == 1
    assert drained(spool) == [2]


@pytest.mark.parametrize(("age_s", "left"), [(30.0, 1), (90.0, 0), (-365 * DAY_S, 1)])
def test_age_counts_across_restarts_and_a_clock_set_back_drops_nothing(age_s: float, left: int, tmp_path: Path) -> None:
    opened(tmp_path).append(report(1))
    (path,) = tmp_path.iterdir()
    written = path.stat().st_mtime - age_s
    os.utime(path, (written, written))
    spool = opened(tmp_path, max_age_s=60.0)
    spool.trim()
    assert len(spool) == left


def test_memory_holds_one_file_of_what_waits(tmp_path: Path) -> None:
    spool = opened(tmp_path, max_bytes=16 << 20)
    for n in range(20_000):
        spool.append(report(n, size=300))
    assert len(spool._loaded) <= SEGMENT_BYTES // 300


def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = opened(tmp_path)
    spool.append(report(1))
    half = os.pwrite
    monkeypatch.setattr("agent.reporting.mqtt.spool.os.pwrite", lambda fd, line, at: half(fd, line[:10], at))
    with pytest.raises(OSError, match="No space left"):
        spool.append(report(2))
    monkeypatch.undo()
    spool.append(report(3))
    assert drained(opened(tmp_path)) == [1, 3]
    assert drained(spool) == [1, 3]


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("a file")
    with pytest.raises(StateError, match="cannot be kept there"):
        opened(tmp_path / "reports")


@given(st.data())
def test_torn_tails_and_flipped_bits_cost_the_reports_they_hit_and_no_other(data: st.DataObject) -> None:
    payloads = data.draw(st.lists(st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"")), max_size=12))
    reports = [Report("result", n, payload) for n, payload in enumerate(payloads, 1)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spool = opened(folder)
        for each in reports:
            spool.append(each)
        spool.close()
        if not reports:
            return
        (path,) = folder.iterdir()
        raw = bytearray(path.read_bytes())
        if data.draw(st.booleans()):
            cut = data.draw(st.integers(0, len(raw)))
            path.write_bytes(raw[:cut])
            whole = bytes(raw[:cut]).count(b"\n")
            # A line that lacks nothing but its line feed is whole.
            assert drained(opened(folder)) in ([r.seq for r in reports[:whole]], [r.seq for r in reports[: whole + 1]])
        else:
            at = data.draw(st.integers(0, len(raw) - 1))
            hit = bytes(raw[:at]).count(b"\n")
            raw[at] ^= 1 << data.draw(st.integers(0, 7))
            path.write_bytes(raw)
            found = opened(folder)
            dropped = found.dropped
            seqs = drained(found)
            assert set(range(1, len(reports) + 1)) - set(seqs) <= {hit + 1, hit + 2}
            assert seqs == sorted(seqs)
            assert dropped >= 1 or len(seqs) == len(reports)


@given(st.lists(st.sampled_from(["append", "take", "trim", "reopen", "peek"]), max_size=60))
def test_it_does_what_a_plain_queue_does(steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        spool, queue, seq = opened(Path(name)), deque[int](), 0
        for step in steps:
            if step == "append":
                seq += 1
                spool.append(report(seq, size=20_000))
                queue.append(seq)
            elif step == "take" and queue:
                first = spool.at(0)
                assert first is not None and first.seq == queue.popleft()
                spool.take()
            elif step == "peek":
                assert [r.seq for n in range(len(queue)) if (r := spool.at(n))] == list(queue)
            elif step == "trim":
                assert spool.trim() == 0
            elif step == "reopen":
                spool.close()
                spool = opened(Path(name))
                again = len(spool) - len(queue)  # of the first file: taken before, found again
                assert 0 <= again <= 3
                for _ in range(again):
                    spool.at(0)
                    spool.take()
            assert len(spool) == len(queue)
        assert drained(spool) == list(queue)
