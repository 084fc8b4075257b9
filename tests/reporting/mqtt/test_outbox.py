import json
import random
import tracemalloc
from pathlib import Path

import pytest

from agent.reporting.mqtt.outbox import MAX_FROM_SPOOL, MAX_STRAIGHT, TOO_LARGE, Outbox, Receipt, open_outbox
from agent.reporting.mqtt.spool import SEGMENT_BYTES

REPORT = {"phase": "decode", "mean_ms": 2.3, "node": "porch", "platform": "x" * 200}


class Ticket:
    """A receipt that the test signs."""

    def __init__(self) -> None:
        self.signed = False

    def is_published(self) -> bool:
        return self.signed


class Link:
    """A connection: what it was given, and a broker that acknowledges when it is told to."""

    def __init__(self, room: int = 100) -> None:
        self.sent: list[tuple[str, int]] = []
        self.tickets: list[Ticket] = []
        self.room = room

    def send(self, name: str, payload: bytes) -> Receipt | None:
        if sum(not ticket.signed for ticket in self.tickets) >= self.room:
            return None
        self.sent.append((name, json.loads(payload)["seq"]))
        self.tickets.append(Ticket())
        return self.tickets[-1]

    def acknowledge(self, count: int | None = None) -> None:
        for ticket in [ticket for ticket in self.tickets if not ticket.signed][:count]:
            ticket.signed = True

    def drain(self, outbox: Outbox) -> None:
        while outbox.waiting:
            outbox.advance(self.send)
            self.acknowledge()
            outbox.advance(self.send)


def outbox(folder: Path, max_bytes: int = 16 << 20) -> Outbox:
    opened = open_outbox(folder / "reports", max_bytes, max_age_s=1e6)
    assert opened is not None
    return opened


def seqs(link: Link, name: str = "result") -> list[int]:
    return [seq for at, seq in link.sent if at == name]


def test_with_a_broker_nothing_touches_flash(tmp_path: Path) -> None:
    box, link = outbox(tmp_path), Link()
    box.connected()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "reports").iterdir()}
    for _ in range(500):
        assert box.put("result", REPORT, link.send)
        link.acknowledge()
        box.advance(link.send)
    assert seqs(link) == list(range(1, 501))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "reports").iterdir()} == before
    assert (box.waiting, box.dropped) == (0, 0)


def test_an_hour_without_a_broker_and_a_restart_in_between(tmp_path: Path) -> None:
    # One report a second, of four topics; killed, without any leave, after half an hour.
    tracemalloc.start()
    box, topics = outbox(tmp_path), ("result", "host", "timing/decode", "timing/bottleneck")
    before, _ = tracemalloc.get_traced_memory()
    for n in range(1800):
        assert box.put(topics[n % 4], REPORT, None)
    box = outbox(tmp_path)
    for n in range(1800):
        assert box.put(topics[n % 4], REPORT, None)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 1 << 20
    assert box.waiting == 3600
    link = Link()
    box.connected()
    link.drain(box)
    assert [seq for _, seq in link.sent] == [1 + n // 4 for n in range(3600)]
    assert [name for name, _ in link.sent] == [topics[n % 4] for n in range(3600)]
    assert box.dropped == 0
    assert box.put("result", REPORT, link.send)
    assert seqs(link) == list(range(1, 902))


def test_what_comes_while_it_catches_up_waits_its_turn(tmp_path: Path) -> None:
    box, link = outbox(tmp_path), Link()
    for _ in range(100):
        box.put("result", REPORT, None)
    box.connected()
    while box.waiting:
        box.advance(link.send)
        assert sum(not ticket.signed for ticket in link.tickets) <= MAX_FROM_SPOOL
        if len(link.sent) < 200:
            box.put("result", REPORT, link.send)
        link.acknowledge(3)
    assert seqs(link) == sorted(set(seqs(link)))
    assert len(seqs(link)) >= 120


def test_what_was_not_acknowledged_is_sent_again_first(tmp_path: Path) -> None:
    box, link = outbox(tmp_path), Link()
    for _ in range(10):
        box.put("result", REPORT, link.send)
    link.acknowledge(4)
    box.disconnected()
    for _ in range(5):
        box.put("result", REPORT, None)
    assert box.waiting == 11
    again = Link()
    box.connected()
    again.drain(box)
    assert seqs(again) == list(range(5, 16))


def test_a_slow_broker_sends_reports_by_way_of_flash(tmp_path: Path) -> None:
    box, link = outbox(tmp_path), Link()
    for _ in range(500):
        assert box.put("result", REPORT, link.send)
    assert len(link.sent) == MAX_STRAIGHT
    box.connected()
    link.drain(box)
    assert seqs(link) == list(range(1, 501))
    assert box.dropped == 0


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_each_report_arrives_in_order_or_is_counted(seed: int, tmp_path: Path) -> None:
    # A subscriber that leaves out what it has heard before hears every report, whatever breaks when.
    rng = random.Random(seed)
    box, link = outbox(tmp_path), None
    said, heard = 0, list[int]()

    def listen(old: Link | None) -> None:
        for seq in seqs(old) if old else []:
            if not heard or seq > heard[-1]:
                heard.append(seq)

    for _ in range(400):
        match rng.choice(["put", "put", "put", "acknowledge", "cut", "connect", "restart", "kill"]):
            case "put":
                for _ in range(rng.randint(1, 40)):
                    box.put("result", REPORT, link.send if link else None)
                    said += 1
            case "acknowledge" if link:
                link.acknowledge(rng.randint(1, 60))
                box.advance(link.send)
            case "cut" if link:
                box.disconnected()
                listen(link)
                link = None
            case "connect" if not link:
                link = Link(room=rng.choice([5, 30, 100]))
                box.connected()
                box.advance(link.send)
            case "restart":
                box.close()
                listen(link)
                box, link = outbox(tmp_path), None
            case "kill" if not link:
                box = outbox(tmp_path)
    box.disconnected()
    listen(link)
    last = Link()
    box.connected()
    last.drain(box)
    listen(last)
    assert box.dropped == 0
    assert heard == list(range(1, said + 1))


def test_a_full_spool_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    box, link = outbox(tmp_path, max_bytes=3 * SEGMENT_BYTES), Link()
    for _ in range(2000):
        box.put("result", REPORT, None)
    dropped = box.dropped
    assert dropped > 0
    box.connected()
    box.advance(link.send)  # the first ones are under way, and go for want of room
    for _ in range(1000):
        box.put("result", REPORT, link.send)
    box.disconnected()
    again = Link()
    again.drain(box)
    assert seqs(again) == list(range(box.dropped + 1, 3001))


def test_after_the_end_nothing_is_taken(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    box.put("result", REPORT, None)
    box.close()
    box.close()
    assert not box.put("result", REPORT, None)
    assert box.dropped == 1
    assert outbox(tmp_path).waiting == 1


def test_a_folder_that_cannot_be_used_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "reports").write_text("a file")
    assert open_outbox(tmp_path / "reports", 1 << 20, 60.0) is None
    assert "reports that cannot be sent are lost" in caplog.text


def test_flash_that_fails_costs_reports_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    box = outbox(tmp_path)

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("agent.reporting.mqtt.spool.os.pwrite", fail)
    for _ in range(10):
        assert not box.put("result", REPORT, None)
    assert box.dropped == 10
    assert caplog.text.count("Input/output error") == 1
    monkeypatch.undo()
    assert box.put("result", REPORT, None)


@pytest.mark.parametrize("payload", [{"x": float("nan")}, {"x": object()}, {"x": "\ud800"}])
def test_what_is_no_json_takes_no_number(payload: dict[str, object], tmp_path: Path) -> None:
    box, link = outbox(tmp_path), Link()
    with pytest.raises((TypeError, ValueError)):
        box.put("result", payload, link.send)
    box.put("result", REPORT, link.send)
    assert seqs(link) == [1]


class Narrow(Link):
    """A connection to a broker that does not take what is larger than a report of these tests."""

    def send(self, name: str, payload: bytes) -> Receipt | None:
        return TOO_LARGE if len(payload) > 1000 else super().send(name, payload)


LARGE = {"x": "x" * 2000}


def test_what_is_too_large_is_lost_and_counted_once_and_holds_up_nothing(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    for n in range(6):
        box.put("result", LARGE if n % 2 else REPORT, None)
    first = Narrow()
    box.connected()
    box.advance(first.send)
    box.disconnected()  # nothing was acknowledged, so all of it is sent once more
    assert box.dropped == 0
    second = Narrow()
    box.connected()
    second.drain(box)
    assert seqs(first) == seqs(second) == [1, 3, 5]
    assert (box.waiting, box.dropped) == (0, 3)
    assert not box.put("result", LARGE, second.send)
    assert box.put("result", REPORT, second.send)
    assert seqs(second) == [1, 3, 5, 8]
    assert (box.waiting, box.dropped) == (1, 4)
    assert outbox(tmp_path).waiting == 0


def test_many_that_are_too_large_go_at_once(tmp_path: Path) -> None:
    box, link = outbox(tmp_path), Narrow()
    for _ in range(10 * MAX_FROM_SPOOL):
        box.put("result", LARGE, None)
    box.put("result", REPORT, None)
    box.connected()
    box.advance(link.send)
    assert seqs(link) == [10 * MAX_FROM_SPOOL + 1]
