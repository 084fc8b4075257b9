import contextlib
import json
import logging
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import agent
from agent.config import MqttConfig
from agent.errors import ConfigError
from agent.reporting.mqtt.broker import Broker
from agent.reporting.mqtt.outbox import Outbox, open_outbox
from agent.reporting.mqtt.session import MAX_QUEUED, Message, Session
from agent.reporting.timing import Timings
from tests.mosquitto import PATIENCE_S, Listener, Mosquitto, retained
from tests.waiting import until

AVAILABILITY = "lastlayer/porch/availability"


@contextlib.contextmanager
def started(mosquitto: Mosquitto, outbox: Outbox | None = None, **changes: object) -> Iterator[Broker]:
    mqtt = MqttConfig(host=mosquitto.host, port=mosquitto.port, node="porch")
    broker = Broker(replace(mqtt, **changes), outbox)  # type: ignore[arg-type]
    broker.start()
    try:
        yield broker
    finally:
        broker.stop(timeout=PATIENCE_S)


@pytest.fixture
def warnings() -> Iterator["queue.Queue[str]"]:
    """What the broker logs at WARNING or above, to be waited for."""
    messages: queue.Queue[str] = queue.Queue()
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.put(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("agent.reporting.mqtt.broker")
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


@contextlib.contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port behind which no broker is: the answer is given to every connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def mqtt_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == "mqtt"]


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    opened = open_outbox(tmp_path / "reports", 1 << 20, 3600.0)
    assert opened is not None
    return opened


def test_it_is_online_while_it_runs_and_offline_after(mosquitto: Mosquitto) -> None:
    with started(mosquitto) as broker:
        assert broker.wait_connected(PATIENCE_S)
        assert retained(mosquitto, AVAILABILITY) == "online"
    assert retained(mosquitto, AVAILABILITY) == "offline"
    assert not broker.connected
    assert mqtt_threads() == []


def test_messages_arrive_in_order_as_json(mosquitto: Mosquitto) -> None:
    timings = Timings(node="porch", runtime="tflite")
    with Listener(mosquitto) as listener, started(mosquitto) as broker:
        assert broker.wait_connected(PATIENCE_S)
        for n in range(5):
            timings.add("decode", 2.0 + n)
            for report in timings.reports():
                assert broker.publish(broker.topics.timing(report.phase), report.as_dict())
        heard = listener.wait_for("lastlayer/porch/timing/decode", count=5)
        assert [payload["seq"] for payload in heard] == [1, 2, 3, 4, 5]
        assert [payload["mean_ms"] for payload in heard] == [2.0, 3.0, 4.0, 5.0, 6.0]
        assert type(heard[0]["mean_ms"]) is float
        assert not any(isinstance(value, (dict, list)) for value in heard[0].values())
        assert broker.dropped == 0


def test_state_said_before_the_broker_is_there_is_published_when_it_is(mosquitto: Mosquitto) -> None:
    mosquitto.stop()
    with started(mosquitto) as broker:
        assert broker.publish(broker.topics.head, {"version": "1"}, retain=True)
        assert broker.publish(broker.topics.head, {"version": "2"}, retain=True)
        assert not broker.publish(broker.topics.result, {"label": "cat"})
        assert broker.dropped == 1
        mosquitto.start()
        assert retained(mosquitto, AVAILABILITY) == "online"
        assert retained(mosquitto, broker.topics.head) == {"version": "2"}
        assert broker.last_error is None


def test_it_reconnects_and_tells_a_forgetful_broker_its_state_again(
    mosquitto: Mosquitto, warnings: "queue.Queue[str]"
) -> None:
    with started(mosquitto) as broker:
        assert broker.wait_connected(PATIENCE_S)
        broker.publish(broker.topics.head, {"version": "7"}, retain=True)
        assert retained(mosquitto, broker.topics.head) == {"version": "7"}
        mosquitto.kill()
        assert "closed the connection" in warnings.get(timeout=PATIENCE_S)
        assert not broker.publish(broker.topics.result, {"label": "cat"})
        mosquitto.start()
        with Listener(mosquitto) as listener:
            assert listener.wait_for(broker.topics.head) == [{"version": "7"}]
            assert listener.wait_for(AVAILABILITY, lambda said: said == "online")
            assert broker.wait_connected(PATIENCE_S)
            assert broker.publish(broker.topics.result, {"label": "dog"})
            assert listener.wait_for(broker.topics.result) == [{"label": "dog"}]
        assert broker.dropped == 1


def test_a_state_never_goes_back_after_a_reconnect(mosquitto: Mosquitto, warnings: "queue.Queue[str]") -> None:
    # The frozen broker has not acknowledged version 1; paho would send it again after version 2.
    with started(mosquitto) as broker:
        assert broker.wait_connected(PATIENCE_S)
        mosquitto.freeze()
        broker.publish(broker.topics.head, {"version": "1"}, retain=True)
        mosquitto.kill()
        assert warnings.get(timeout=PATIENCE_S)
        broker.publish(broker.topics.head, {"version": "2"}, retain=True)
        mosquitto.start()
        assert broker.wait_connected(PATIENCE_S)
        with Listener(mosquitto) as listener:
            broker.publish(broker.topics.result, {"end": True})
            listener.wait_for(broker.topics.result)
            assert [payload for topic, payload in listener.heard if topic == broker.topics.head] == [{"version": "2"}]


def test_a_full_queue_drops_and_counts_but_keeps_state(mosquitto: Mosquitto) -> None:
    with Listener(mosquitto) as listener, started(mosquitto) as broker:
        assert broker.wait_connected(PATIENCE_S)
        listener.wait_for(AVAILABILITY, lambda said: said == "online")
        mosquitto.freeze()
        taken = [broker.publish(broker.topics.result, {"n": n}) for n in range(5 * MAX_QUEUED)]
        broker.publish(broker.topics.head, {"version": "3"}, retain=True)
        assert sum(taken) <= MAX_QUEUED
        assert broker.dropped == len(taken) - sum(taken)
        mosquitto.thaw()
        heard = listener.wait_for(broker.topics.result, count=sum(taken))
        assert [payload["n"] for payload in heard] == list(range(sum(taken)))
        assert listener.wait_for(broker.topics.head) == [{"version": "3"}]


def test_what_was_not_acknowledged_counts_as_dropped(mosquitto: Mosquitto, warnings: "queue.Queue[str]") -> None:
    with started(mosquitto) as broker:
        assert broker.wait_connected(PATIENCE_S)
        mosquitto.freeze()
        for n in range(10):
            assert broker.publish(broker.topics.result, {"n": n})
        mosquitto.kill()
        assert warnings.get(timeout=PATIENCE_S)
        mosquitto.start()
        assert broker.wait_connected(PATIENCE_S)
        assert broker.dropped == 10


CHILD = """
import sys
from agent.config import MqttConfig
from agent.reporting.mqtt.broker import Broker
from agent.reporting.mqtt.outbox import Outbox, open_outbox

broker = Broker(MqttConfig(host=sys.argv[1], port=int(sys.argv[2]), node="porch"))
broker.start()
sys.stdin.read()
"""


def test_a_killed_process_is_declared_offline_by_its_last_will(mosquitto: Mosquitto) -> None:
    command = [sys.executable, "-c", CHILD, mosquitto.host, str(mosquitto.port)]
    root = Path(agent.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with Listener(mosquitto) as listener:
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as child:
            listener.wait_for(AVAILABILITY, lambda said: said == "online")
            child.send_signal(signal.SIGKILL)
        listener.wait_for(AVAILABILITY, lambda said: said == "offline")
    assert retained(mosquitto, AVAILABILITY) == "offline"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that lets in only board, with the password "sesame "."""
    with Mosquitto(tmp_path, users={"board": "sesame "}) as broker:
        yield broker


def test_a_password_comes_from_a_file_without_its_newline(guarded: Mosquitto, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("sesame \n")
    with started(guarded, username="board", password_file=file) as broker:
        assert broker.wait_connected(PATIENCE_S)


def test_the_password_of_the_service_comes_as_a_credential(
    guarded: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mqtt-password").write_text("sesame \n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with started(guarded, username="board") as broker:
        assert broker.wait_connected(PATIENCE_S)


def test_a_refused_password_is_said_once_and_shown(
    guarded: Mosquitto, tmp_path: Path, warnings: "queue.Queue[str]"
) -> None:
    file = tmp_path / "password"
    file.write_text("open sesame")
    with started(guarded, username="board", password_file=file) as broker:
        said = warnings.get(timeout=PATIENCE_S)
        assert re.search(rf"broker 127\.0\.0\.1:{guarded.port} refused.*mqtt\.username and mqtt\.password_file", said)
        assert "sesame" not in said
        with Listener(guarded, "$SYS/none", login=("board", "sesame ")):
            pass  # more attempts come meanwhile
        assert broker.last_error
        assert broker.last_error in said
        assert not broker.connected
        guarded.kill()  # another reason is worth another line
        assert "cannot be reached" in warnings.get(timeout=PATIENCE_S)
    assert [line for line in warnings.queue if "refused the connection" in line] == []


@pytest.mark.parametrize(
    ("content", "odd"),
    [
        (b"\xef\xbb\xbfsesame ", "begins with EF BB BF, a byte order mark"),
        (b"sesame \n\n", "has 0A at byte 7, a line feed"),
        (b"s\0e\0s\0", "has 00 at byte 1, a NUL"),
    ],
)
def test_a_refused_password_with_an_odd_byte_is_told_of_by_that(
    content: bytes, odd: str, guarded: Mosquitto, tmp_path: Path, warnings: "queue.Queue[str]"
) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    with started(guarded, username="board", password_file=file) as broker:
        for _ in ("at the start", "when it is refused"):
            said = warnings.get(timeout=PATIENCE_S)
            assert f"mqtt.password_file: {file} {odd}" in said
            assert "sesame" not in said
        assert broker.last_error is not None and odd in broker.last_error


def test_a_refused_login_without_a_password_is_told_of_by_that(
    guarded: Mosquitto, warnings: "queue.Queue[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with started(guarded, username="board"):
        assert "no password is shown" in warnings.get(timeout=PATIENCE_S)


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"x" * 70_000])
def test_a_password_that_cannot_be_read_is_refused_at_once(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"mqtt\.password_file: .*password"):
        Broker(MqttConfig(host="127.0.0.1", username="board", password_file=file))


def test_without_a_host_there_is_nothing_to_start() -> None:
    with pytest.raises(ConfigError, match=r"mqtt\.host"):
        Broker(MqttConfig())


@pytest.mark.parametrize("messages", [0, 2 * MAX_QUEUED])
def test_it_stops_within_the_deadline_when_the_broker_is_frozen(messages: int, mosquitto: Mosquitto) -> None:
    with started(mosquitto) as broker:
        assert broker.wait_connected(PATIENCE_S)
        mosquitto.freeze()
        for n in range(messages):
            broker.publish(broker.topics.result, {"n": n, "long": "x" * 10_000})
        began = time.monotonic()
        broker.stop(timeout=1.0)
        assert time.monotonic() - began < 1.5
        assert mqtt_threads() == []
        mosquitto.thaw()
        with Listener(mosquitto, AVAILABILITY) as listener:  # by the last will, if not by ourselves
            listener.wait_for(AVAILABILITY, lambda said: said == "offline")


def test_what_was_said_just_before_the_stop_is_not_left_behind(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_turn, goes_on, take_refused = threading.Event(), threading.Event(), Session.take_refused

    def held(session: Session) -> Counter[str]:
        if session.opened and not in_turn.is_set():
            in_turn.set()
            goes_on.wait(PATIENCE_S)
        return take_refused(session)

    monkeypatch.setattr(Session, "take_refused", held)
    with Listener(mosquitto) as listener, started(mosquitto) as broker:
        assert in_turn.wait(PATIENCE_S)
        assert broker.report("timing/step", {"count": 1})
        stopping = threading.Thread(target=broker.stop, args=(PATIENCE_S,))
        stopping.start()
        until(lambda: not broker.send(broker.topics.answer, b"{}"), PATIENCE_S)  # it has taken leave
        goes_on.set()
        stopping.join(PATIENCE_S)
        listener.wait_for(broker.topics.timing("step"))


def test_it_stops_at_once_between_two_attempts(mosquitto: Mosquitto, warnings: "queue.Queue[str]") -> None:
    mosquitto.stop()
    with started(mosquitto) as broker:
        assert "cannot be reached" in warnings.get(timeout=PATIENCE_S)
        began = time.monotonic()
        broker.stop(timeout=5.0)
        assert time.monotonic() - began < 1.0
    assert mqtt_threads() == []


def test_it_stops_at_once_when_nobody_answers_its_greeting() -> None:
    greeted, done = threading.Event(), threading.Event()

    def listen(connection: socket.socket) -> None:
        connection.recv(1000)
        greeted.set()
        done.wait(PATIENCE_S)

    with server(listen) as port:
        broker = Broker(MqttConfig(host="127.0.0.1", port=port))
        broker.start()
        assert greeted.wait(PATIENCE_S)
        began = time.monotonic()
        broker.stop(timeout=5.0)
        assert time.monotonic() - began < 1.0
        assert mqtt_threads() == []
        done.set()


def test_stopping_before_the_start_or_twice_is_harmless(mosquitto: Mosquitto) -> None:
    Broker(MqttConfig(host="127.0.0.1")).stop(timeout=1.0)
    with started(mosquitto) as broker:
        broker.stop(timeout=PATIENCE_S)
        assert not broker.publish(broker.topics.result, {})


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x20\x02\x00\x63",  # a CONNACK with a code that does not exist
        b"\x20\x01\x00",
        b"\x20\x00",
        b"\x30\x00",
        b"\x40\x01\x00",
        b"\x90\x00",
        b"\xff\xff\xff\xff\xff\xff",
        b"",
    ],
)
def test_no_answer_ends_its_attempts(answer: bytes, warnings: "queue.Queue[str]") -> None:
    attempts: queue.Queue[None] = queue.Queue()

    def talk(connection: socket.socket) -> None:
        attempts.put(None)
        connection.recv(1000)
        connection.sendall(answer)

    with server(talk) as port:
        broker = Broker(MqttConfig(host="127.0.0.1", port=port))
        broker.start()
        for _ in range(3):
            attempts.get(timeout=PATIENCE_S)
        assert f"127.0.0.1:{port}" in warnings.get(timeout=PATIENCE_S)
        assert not broker.connected
        assert broker.last_error
        broker.stop(timeout=PATIENCE_S)
    assert mqtt_threads() == []
    assert warnings.empty(), "the same reason was logged again"


def test_a_broker_that_falls_silent_is_left(mosquitto: Mosquitto, warnings: "queue.Queue[str]") -> None:
    with started(mosquitto, keepalive_s=1) as broker:
        assert broker.wait_connected(PATIENCE_S)
        mosquitto.freeze()
        assert "stopped answering" in warnings.get(timeout=PATIENCE_S)
        mosquitto.thaw()
        assert broker.wait_connected(PATIENCE_S)


@pytest.mark.parametrize("payload", [{"x": float("nan")}, {"x": object()}, {"x": "\ud800"}])
def test_what_is_not_json_is_dropped_and_does_not_raise(payload: dict[str, object], mosquitto: Mosquitto) -> None:
    with started(mosquitto) as broker:
        assert broker.wait_connected(PATIENCE_S)
        for retain in (False, True):
            assert not broker.publish(broker.topics.result, payload, retain=retain)
        assert broker.dropped == 2


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "a\0"])
def test_what_is_no_topic_is_dropped_and_does_not_raise(topic: str, mosquitto: Mosquitto) -> None:
    with started(mosquitto) as broker:
        assert broker.wait_connected(PATIENCE_S)
        for retain in (False, True):
            assert not broker.publish(topic, {}, retain=retain)
        assert broker.dropped == 2


def test_publishing_from_many_threads_loses_nothing(mosquitto: Mosquitto) -> None:
    with Listener(mosquitto) as listener, started(mosquitto) as broker:
        assert broker.wait_connected(PATIENCE_S)

        def publish(sender: int) -> None:
            for n in range(200):
                broker.publish(broker.topics.result, {"sender": sender, "n": n})

        senders = [threading.Thread(target=publish, args=(sender,)) for sender in range(4)]
        for thread in senders:
            thread.start()
        for thread in senders:
            thread.join()
        heard = listener.wait_for(broker.topics.result, count=800 - broker.dropped)
        for sender in range(4):
            mine = [payload["n"] for payload in heard if payload["sender"] == sender]
            assert mine == sorted(mine)
        assert len({json.dumps(payload) for payload in heard}) == 800 - broker.dropped


def seqs(listener: Listener, count: int) -> list[int]:
    return [payload["seq"] for payload in listener.wait_for("lastlayer/porch/result", count=count)]


def test_reports_are_numbered_and_arrive(mosquitto: Mosquitto, outbox: Outbox) -> None:
    with Listener(mosquitto) as listener, started(mosquitto, outbox) as broker:
        assert broker.wait_connected(PATIENCE_S)
        for _ in range(10):
            assert broker.report("result", {"label": "cat"})
        assert broker.report("timing/decode", {"mean_ms": 2.0})
        assert seqs(listener, 10) == list(range(1, 11))
        assert listener.wait_for("lastlayer/porch/timing/decode") == [{"mean_ms": 2.0, "seq": 1}]


def test_reports_wait_for_the_broker_and_arrive_in_order(
    mosquitto: Mosquitto, outbox: Outbox, warnings: "queue.Queue[str]"
) -> None:
    with started(mosquitto, outbox) as broker:
        assert broker.wait_connected(PATIENCE_S)
        assert broker.report("result", {"label": "cat"})
        mosquitto.freeze()
        for _ in range(150):  # some under way, some not
            assert broker.report("result", {"label": "cat"})
        mosquitto.kill()
        assert warnings.get(timeout=PATIENCE_S)
        for _ in range(150):
            assert broker.report("result", {"label": "dog"})
        assert broker.waiting >= 300
        mosquitto.start()
        with Listener(mosquitto) as listener:
            assert broker.wait_connected(PATIENCE_S)
            broker.report("result", {"label": "end"})
            listener.wait_for("lastlayer/porch/result", lambda payload: payload["label"] == "end")
            heard = seqs(listener, 1)
            # The subscriber came a moment after the broker: what was said before, others may have heard.
            assert heard == list(range(heard[0], 303))
        assert broker.dropped == 0


def test_reports_of_a_process_before_are_sent_by_the_next(mosquitto: Mosquitto, tmp_path: Path) -> None:
    mosquitto.stop()
    for first in (1, 51):
        outbox = open_outbox(tmp_path / "reports", 1 << 20, 3600.0)
        with started(mosquitto, outbox) as broker:
            for n in range(first, first + 50):
                assert broker.report("result", {"n": n})
        assert not broker.report("result", {"n": 0}), "it has been stopped"
    mosquitto.start()
    with Listener(mosquitto) as listener, started(mosquitto, open_outbox(tmp_path / "reports", 1 << 20, 3600.0)):
        heard = listener.wait_for("lastlayer/porch/result", count=100)
        assert [(payload["seq"], payload["n"]) for payload in heard] == [(n, n) for n in range(1, 101)]


def test_without_an_outbox_reports_are_numbered_and_lost_while_the_broker_is_away(mosquitto: Mosquitto) -> None:
    mosquitto.stop()
    with started(mosquitto) as broker:
        assert not broker.report("result", {})
        assert (broker.dropped, broker.waiting) == (1, 0)


@pytest.mark.parametrize("payload", [{"x": float("nan")}, {"x": object()}])
def test_a_report_that_is_no_json_is_dropped_and_does_not_raise(
    payload: dict[str, object], mosquitto: Mosquitto, outbox: Outbox
) -> None:
    with started(mosquitto, outbox) as broker:
        assert not broker.report("result", payload)
        assert broker.dropped == 1


def test_it_speaks_mqtt_5_to_a_broker_that_does(mosquitto: Mosquitto) -> None:
    with started(mosquitto) as broker:
        assert broker.wait_connected(PATIENCE_S)
        assert mosquitto.wait_for_log("as lastlayer-porch (p5,")


def test_it_speaks_mqtt_5_after_it_found_nobody(mosquitto: Mosquitto, warnings: "queue.Queue[str]") -> None:
    mosquitto.stop()
    with started(mosquitto) as broker:
        assert "cannot be reached" in warnings.get(timeout=PATIENCE_S)
        mosquitto.start()
        assert broker.wait_connected(PATIENCE_S)
        assert mosquitto.wait_for_log("as lastlayer-porch (p5,")


CONNACK_3 = b"\x20\x02\x00"


@pytest.mark.parametrize("refusal", [CONNACK_3 + b"\x01", b"\x20\x03\x00\x84\x00", b"", None])
def test_it_speaks_3_1_1_to_a_broker_that_knows_no_better(refusal: bytes | None, warnings: "queue.Queue[str]") -> None:
    greetings: queue.Queue[int] = queue.Queue()

    def talk(connection: socket.socket) -> None:
        version = connection.recv(1000)[8]  # after the fixed header (2) and the name (6)
        greetings.put(version)
        connection.sendall(CONNACK_3 + b"\x00" if version == 4 else refusal or b"")
        while (version == 4 or refusal is None) and connection.recv(1000):
            pass

    with server(talk) as port:
        broker = Broker(MqttConfig(host="127.0.0.1", port=port))
        broker.start()
        assert broker.wait_connected(PATIENCE_S)
        assert [greetings.get(), greetings.get()] == [5, 4]
        assert warnings.empty() or not refusal
        broker.stop(timeout=1.0)  # this broker acknowledges no farewell


def test_a_broker_that_accepts_and_never_answers_is_left_and_nothing_is_lost(
    outbox: Outbox, warnings: "queue.Queue[str]"
) -> None:
    done = threading.Event()
    with server(lambda connection: (done.wait(PATIENCE_S), None)[1]) as port:
        broker = Broker(MqttConfig(host="127.0.0.1", port=port, keepalive_s=1), outbox)
        broker.start()
        assert broker.report("result", {"label": "cat"})
        assert "stopped answering" in warnings.get(timeout=PATIENCE_S)
        assert (broker.waiting, broker.dropped) == (1, 0)
        began = time.monotonic()
        broker.stop(timeout=5.0)
        assert time.monotonic() - began < 2.0
        done.set()


def test_what_others_publish_is_heard_and_again_after_a_reconnect(
    mosquitto: Mosquitto, warnings: "queue.Queue[str]"
) -> None:
    heard: queue.Queue[Message] = queue.Queue()
    broker = Broker(MqttConfig(host=mosquitto.host, port=mosquitto.port, node="porch"))
    broker.hear(["lastlayer/porch/label", "lastlayer/porch/frame/#"], heard.put)
    with Listener(mosquitto, "x") as sender:
        sender.publish("lastlayer/porch/label", b"before", retain=True)
    broker.start()
    assert broker.wait_connected(PATIENCE_S)
    assert heard.get(timeout=PATIENCE_S) == Message("lastlayer/porch/label", b"before", True)
    with Listener(mosquitto, "x", v5=True) as sender:
        sender.publish("lastlayer/porch/frame", b"\xff", response_topic="there", correlation=b"7")
        sender.publish("lastlayer/porch/other", b"")
        sender.publish("lastlayer/porch/frame/a/b", b"")
    assert heard.get(timeout=PATIENCE_S) == Message("lastlayer/porch/frame", b"\xff", False, "there", b"7")
    assert heard.get(timeout=PATIENCE_S).topic == "lastlayer/porch/frame/a/b"
    mosquitto.stop()
    assert warnings.get(timeout=PATIENCE_S)
    mosquitto.start()
    assert broker.wait_connected(PATIENCE_S)
    assert mosquitto.wait_for_log("lastlayer/porch/frame/# (QoS 1)")
    with Listener(mosquitto, "x") as sender:
        sender.publish("lastlayer/porch/label", b"after")
    assert heard.get(timeout=PATIENCE_S).payload == b"after"
    broker.stop(timeout=PATIENCE_S)
