"""What a broker takes, and what becomes of the rest: with a real mosquitto, and with answers that it does not give."""

import contextlib
import logging
import queue
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import MqttConfig
from agent.reporting.announcer import Announcer
from agent.reporting.discovery import device_id
from agent.reporting.mqtt.broker import Broker
from agent.reporting.mqtt.capabilities import publish_bytes
from agent.reporting.mqtt.negotiation import TIMES, Negotiation
from agent.reporting.mqtt.outbox import Outbox, open_outbox
from tests.mosquitto import PATIENCE_S, Listener, Mosquitto, retained
from tests.waiting import until

DEVICE = "homeassistant/device/lastlayer_porch/config"


@contextlib.contextmanager
def mosquitto_with(folder: Path, *settings: str) -> Iterator[Mosquitto]:
    with Mosquitto(folder, settings=settings) as broker:
        yield broker


@contextlib.contextmanager
def started(mosquitto: Mosquitto, outbox: Outbox | None = None, hears: Sequence[str] = ()) -> Iterator[Broker]:
    broker = Broker(MqttConfig(host=mosquitto.host, port=mosquitto.port, node="porch"), outbox)
    broker.hear(hears, lambda message: None)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop(timeout=PATIENCE_S)


def connections(mosquitto: Mosquitto) -> int:
    return mosquitto.log.count("as lastlayer-porch (")


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    opened = open_outbox(tmp_path / "reports", 1 << 20, 3600.0)
    assert opened is not None
    return opened


def test_a_broker_of_4000_bytes_has_all_that_fits_and_one_line_says_what_does_not(
    tmp_path: Path, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        mosquitto_with(tmp_path, "max_packet_size 4000") as mosquitto,
        Listener(mosquitto, "#") as listener,
        started(mosquitto, outbox) as broker,
    ):
        announcer = Announcer(broker, discovery_prefix="homeassistant")
        announcer.discover()
        for n in range(30):
            assert broker.report("result", {"n": n})
            broker.report("timing/decode", {"long": "x" * 4000})
        listener.wait_for("lastlayer/porch/result", count=30)
        listener.wait_for("homeassistant/button/lastlayer_porch/button_retrain/config")
        until(lambda: not broker.waiting, PATIENCE_S)
        assert connections(mosquitto) == 1
        assert broker.dropped == 30, "the reports that are too large"
        assert broker.too_large == 31, "and the discovery"
        status = announcer.status()
        assert status is not None and (status["too_large"], status["dropped"]) == (31, 30)
        said = warned(caplog)
        assert len(said) == 2, "one for each kind"
        assert all("allows 4000 (max_packet_size in mosquitto)" in line for line in said)
        assert sum(DEVICE in line for line in said) == 1


def test_where_the_discovery_is_too_large_each_entity_is_told_of_alone(tmp_path: Path) -> None:
    with mosquitto_with(tmp_path, "max_packet_size 4000") as mosquitto, started(mosquitto) as broker:
        with Listener(mosquitto, "#") as sender:
            sender.publish(DEVICE, b"{}", retain=True)  # by a broker that took more, before
        Announcer(broker, discovery_prefix="homeassistant").discover()
        frames = retained(mosquitto, "homeassistant/sensor/lastlayer_porch/counter_frames/config")
        assert frames["unique_id"] == "lastlayer_porch_counter_frames"
        assert frames["state_topic"] == "lastlayer/porch/counters"
        assert frames["device"]["identifiers"] == [device_id("porch")]
        assert frames["availability_topic"] == "lastlayer/porch/availability"
        assert "platform" not in frames and "components" not in frames
        with Listener(mosquitto, "homeassistant/#") as listener:
            listener.wait_for("homeassistant/button/lastlayer_porch/button_rollback/config")
            assert DEVICE not in [topic for topic, _ in listener.heard], "nothing is said twice"


def test_a_broker_that_takes_the_discovery_gets_it_as_one(mosquitto: Mosquitto) -> None:
    with started(mosquitto) as broker, Listener(mosquitto, "homeassistant/#") as listener:
        Announcer(broker, discovery_prefix="homeassistant").discover()
        assert listener.wait_for(DEVICE)[0]["components"]["counter_too_large"]
        assert {topic for topic, _ in listener.heard} == {DEVICE}
        assert broker.too_large == 0


def test_reports_that_wait_and_are_too_large_do_not_hold_up_those_behind(tmp_path: Path, outbox: Outbox) -> None:
    for n in range(60):
        outbox.put("result", {"n": n, "long": "x" * (5000 if n % 2 else 5)}, None)
    with (
        mosquitto_with(tmp_path, "max_packet_size 4000") as mosquitto,
        Listener(mosquitto) as listener,
        started(mosquitto, outbox) as broker,
    ):
        heard = listener.wait_for("lastlayer/porch/result", count=30)
        assert [payload["seq"] for payload in heard] == list(range(1, 61, 2))
        until(lambda: not broker.waiting, PATIENCE_S)
        assert (broker.dropped, broker.too_large) == (30, 30)
        assert connections(mosquitto) == 1


@pytest.mark.parametrize("most", [100, 300])
def test_a_broker_that_takes_next_to_nothing_is_left_alone_with_the_rest(most: int, tmp_path: Path) -> None:
    filters = [f"lastlayer/porch/{name}" for name in ("frame/#", "label", "command/+", "a" * 100, "exchange/+/+")]
    with (
        mosquitto_with(tmp_path, f"max_packet_size {most}") as mosquitto,
        Listener(mosquitto) as listener,
        started(mosquitto, hears=filters) as broker,
    ):
        assert broker.wait_connected(PATIENCE_S), broker.last_error
        Announcer(broker, discovery_prefix="homeassistant").discover()
        assert broker.publish("lastlayer/porch/result", {"n": 1})
        assert not broker.publish("lastlayer/porch/result", {"n": "x" * most})
        listener.wait_for("lastlayer/porch/result", count=1)
        assert connections(mosquitto) == 1
        assert broker.dropped == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["retain_available false"], ["keeps no message"]),
        (["max_qos 0"], ["acknowledges nothing"]),
        (["retain_available false", "max_qos 0"], ["keeps no message", "acknowledges nothing"]),
        (["max_inflight_messages 1"], []),
        (["max_inflight_messages 3", "max_qos 1"], []),
    ],
)
def test_a_broker_that_can_do_less_is_spoken_to_as_it_can(
    settings: list[str], said: list[str], tmp_path: Path, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    with mosquitto_with(tmp_path, *settings) as mosquitto, Listener(mosquitto, "#") as listener:
        for n in range(40):
            outbox.put("result", {"n": n}, None)
        with started(mosquitto, outbox) as broker:
            announcer = Announcer(broker, discovery_prefix="homeassistant")
            announcer.discover()
            announcer.head({"version": "1"})
            assert broker.wait_connected(PATIENCE_S), broker.last_error
            for n in range(40, 80):
                assert broker.report("result", {"n": n})
            heard = listener.wait_for("lastlayer/porch/result", count=80)
            assert [payload["n"] for payload in heard] == list(range(80))
            listener.wait_for(DEVICE)
            listener.wait_for("lastlayer/porch/head")
            listener.wait_for("lastlayer/porch/availability", lambda state: state == "online")
            until(lambda: not broker.waiting, PATIENCE_S)
            assert (broker.dropped, broker.too_large, connections(mosquitto)) == (0, 0, 1)
        listener.wait_for("lastlayer/porch/availability", lambda state: state == "offline")
    assert len(warned(caplog)) == len(said)
    assert all(any(words in line for line in warned(caplog)) for words in said)


def test_where_no_message_is_acknowledged_none_is_queued_without_a_bound(tmp_path: Path) -> None:
    with mosquitto_with(tmp_path, "max_qos 0") as mosquitto, started(mosquitto) as broker:
        assert broker.wait_connected(PATIENCE_S)
        mosquitto.freeze()
        taken = sum(broker.publish("lastlayer/porch/result", {"long": "x" * 1_000_000}) for _ in range(300))
        assert taken < 150
        assert broker.dropped == 300 - taken
        mosquitto.thaw()


def test_a_broker_that_names_no_limit_and_breaks_off_is_not_sent_the_same_for_ever(
    tmp_path: Path, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    # mosquitto answers to what is beyond message_size_limit with a reason that does not exist there.
    for n in range(9):
        outbox.put("result", {"n": n, "long": "x" * (3000 if n == 4 else 5)}, None)
    with (
        mosquitto_with(tmp_path, "message_size_limit 2000") as mosquitto,
        Listener(mosquitto) as listener,
        started(mosquitto, outbox) as broker,
    ):
        listener.wait_for("lastlayer/porch/result", lambda payload: payload["n"] == 8)
        until(lambda: not broker.waiting, PATIENCE_S)
        assert (broker.dropped, broker.too_large) == (1, 1)
        assert connections(mosquitto) == TIMES + 1
        heard = listener.wait_for("lastlayer/porch/result")
        assert {payload["n"] for payload in heard} == set(range(9)) - {4}
    assert sum("breaks the connection over a packet of" in line for line in warned(caplog)) == 1


def test_in_3_1_1_too_a_state_that_breaks_each_connection_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Negotiation, "v5", property(lambda self: False, lambda self, v5: None), raising=False)
    with (
        mosquitto_with(tmp_path, "max_packet_size 4000") as mosquitto,
        Listener(mosquitto, "#") as listener,
        started(mosquitto) as broker,
    ):
        Announcer(broker, discovery_prefix="homeassistant").discover()
        listener.wait_for("homeassistant/button/lastlayer_porch/button_retrain/config")
        assert broker.report("result", {"n": 1})
        listener.wait_for("lastlayer/porch/result")
        assert mosquitto.log.count("as lastlayer-porch (p2,") == TIMES + 1
        assert broker.too_large == 1


def test_what_is_taken_from_others_may_be_as_large_as_mqtt_has_it(mosquitto: Mosquitto) -> None:
    config = MqttConfig(host=mosquitto.host, port=mosquitto.port, node="porch")
    broker = Broker(config, max_message_bytes=(256 << 20) + (1 << 20))
    broker.start()
    assert broker.wait_connected(PATIENCE_S), broker.last_error
    assert mosquitto.wait_for_log("as lastlayer-porch (p5,")
    broker.stop(PATIENCE_S)


def test_what_the_broker_refuses_is_counted_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "acl").write_text("topic write lastlayer/porch/availability\ntopic read #\n")
    (tmp_path / "acl").chmod(0o600)
    with mosquitto_with(tmp_path, f"acl_file {tmp_path / 'acl'}") as mosquitto, started(mosquitto) as broker:
        assert broker.wait_connected(PATIENCE_S)
        for n in range(10):
            assert broker.report("result", {"n": n})
        until(lambda: broker.dropped == 10, PATIENCE_S)
        assert connections(mosquitto) == 1
    assert sum("refuses messages: Not authorized" in line for line in warned(caplog)) == 1


class Fake:
    """A broker that lets everyone in with the same properties, acknowledges nothing, and keeps all packets."""

    def __init__(self, properties: bytes) -> None:
        self.packets: queue.Queue[bytes] = queue.Queue()
        self._answer = bytes([0x20, 3 + len(properties), 0, 0, len(properties)]) + properties

    def __call__(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            self._packet(stream)
            connection.sendall(self._answer)
            while packet := self._packet(stream):
                self.packets.put(packet)

    def _packet(self, stream: Any) -> bytes:
        header = stream.read(1)
        length = shift = 0
        while header:
            digit = stream.read(1)
            header += digit
            length |= (digit[0] & 0x7F) << shift
            shift += 7
            if digit[0] < 0x80:
                break
        return bytes(header + stream.read(length))


@contextlib.contextmanager
def fake(properties: bytes, hears: Sequence[str] = ()) -> Iterator[tuple[Fake, Broker]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = Fake(properties)
        thread = threading.Thread(target=lambda: serving(listening.accept()[0]))
        thread.start()
        broker = Broker(MqttConfig(host="127.0.0.1", port=listening.getsockname()[1], node="porch"))
        broker.hear(hears, lambda message: None)
        broker.start()
        try:
            assert broker.wait_connected(PATIENCE_S), broker.last_error
            yield serving, broker
        finally:
            broker.stop(0.5)
            thread.join()


@pytest.mark.parametrize("correlation", [None, b"7" * 9])
@pytest.mark.parametrize("most", [120, 129, 130, 131, 300])
def test_the_whole_packet_counts_to_the_byte(most: int, correlation: bytes | None) -> None:
    with fake(b"\x27" + struct.pack("!I", most)) as (serving, broker):
        assert serving.packets.get(timeout=PATIENCE_S)[-6:] == b"online"
        assert any(broker.publish("a/b", {"x": "y" * size}, correlation=correlation) for size in range(most, 0, -1))
        largest = len(serving.packets.get(timeout=PATIENCE_S))
    assert largest == most or (largest, most) == (129, 130), "with a length of two digits no packet takes 130"


def test_no_more_is_under_way_than_the_broker_wants() -> None:
    with fake(b"\x21" + struct.pack("!H", 3)) as (serving, broker):
        assert all(broker.publish("a", {"n": n}) for n in range(20)), "they wait"
        for _ in range(3):
            assert serving.packets.get(timeout=PATIENCE_S)[0] >> 4 == 3
        with pytest.raises(queue.Empty):
            serving.packets.get(timeout=0.5)


def test_a_limit_that_paho_cannot_read_is_left_to_3_1_1(caplog: pytest.LogCaptureFixture) -> None:
    def let_in(listening: socket.socket) -> None:
        for answer in (b"\x20\x08\x00\x00\x05\x27\xff\xff\xff\xff", b"\x20\x02\x00\x00"):
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)
                while connection.recv(1000):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=let_in, args=(listening,))
        thread.start()
        broker = Broker(MqttConfig(host="127.0.0.1", port=listening.getsockname()[1], node="porch"))
        broker.start()
        assert broker.wait_connected(PATIENCE_S), broker.last_error
        broker.stop(0.5)
        thread.join()
    assert not warned(caplog)


def test_a_broker_without_wildcards_is_asked_for_none(caplog: pytest.LogCaptureFixture) -> None:
    with fake(b"\x28\x00", hears=["a/#", "b/+", "label"]) as (serving, _):
        first = serving.packets.get(timeout=PATIENCE_S)
        assert first[0] >> 4 == 8 and b"label" in first
        assert serving.packets.get(timeout=PATIENCE_S)[0] >> 4 == 3
    assert [line.rpartition("does not let us hear ")[2] for line in warned(caplog)] == ["a/#", "b/+"]


@given(st.text(min_size=1, max_size=300), st.integers(0, 1 << 22), st.integers(0, 100), st.integers(0, 1))
def test_a_packet_is_as_large_as_its_parts(topic: str, payload: int, properties: int, qos: int) -> None:
    parts = 2 + len(topic.encode()) + 2 * qos + properties + payload
    digits = publish_bytes(topic, payload, properties, qos) - parts - 1
    assert 128 ** (digits - 1) <= max(1, parts) < 128**digits
