"""What a desktop says of a broker that lets nothing through."""

import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from agent.config import MqttConfig
from agent.reporting.mqtt.endpoint import Endpoint
from tests.daemon import Daemon, trainer
from tests.mosquitto import Listener, Mosquitto, retained
from trainer.fleet.boards import TIMEOUT_S, BoardError, BoardRefusalError
from trainer.fleet.mqtt import MqttBoard

SOON_S = TIMEOUT_S / 3
ACCESS_CONTROL = sorted(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"))


def board_behind(broker: Mosquitto, **more: Any) -> MqttBoard:
    config = MqttConfig(host=broker.host, port=broker.port, node="porch", **more)
    return MqttBoard(f"mqtt://{broker.host}/porch", Endpoint.of(config))


def complaint(board: MqttBoard) -> str:
    """What is said, and that it is said at once."""
    began, threads = time.monotonic(), set(threading.enumerate())
    with pytest.raises(BoardError) as raised:
        board.page("0" * 16)
    assert time.monotonic() - began < SOON_S
    assert set(threading.enumerate()) <= threads
    return str(raised.value)


@pytest.mark.skipif(not ACCESS_CONTROL, reason="mosquitto comes without its access control here")
def test_a_broker_that_does_not_let_us_hear_the_answer_is_named_with_the_way_out(tmp_path: Path) -> None:
    allowed = {"publishClientSend": True, "publishClientReceive": True, "subscribe": False, "unsubscribe": True}
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"defaultACLAccess": allowed, "clients": [], "groups": [], "roles": []}))
    # An acl_file of mosquitto 2.0 refuses no subscription; it keeps the messages back.
    settings = [f"plugin {ACCESS_CONTROL[0]}", f"plugin_opt_config_file {rules}"]
    with Mosquitto(tmp_path, settings=settings) as broker:
        said = complaint(board_behind(broker))
    assert f"the MQTT broker {broker.host}:{broker.port} does not let us hear lastlayer/porch/exchanged/" in said
    assert "allow it to clients without a login in the broker's ACL" in said


@pytest.mark.parametrize(
    ("end", "what"),
    [("kill", "closed the connection"), ("stop", "closed the connection"), ("freeze", "stopped answering")],
)
def test_a_broker_that_goes_away_while_a_board_is_asked_is_noticed(mosquitto: Mosquitto, end: str, what: str) -> None:
    with Listener(mosquitto, "lastlayer/porch/exchange/#") as listener:

        def end_it_once_asked() -> None:
            listener.wait_for("lastlayer/porch/exchange/#")
            getattr(mosquitto, end)()

        ending = threading.Thread(target=end_it_once_asked, name="ending")
        ending.start()
        said = complaint(board_behind(mosquitto, keepalive_s=2))
        ending.join()
    assert f"the MQTT broker {mosquitto.host}:{mosquitto.port} {what} before" in said
    assert "mqtt://127.0.0.1/porch had answered: is it running?" in said


def test_a_login_that_the_broker_refuses_is_said(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, users={"desk": "secret"}) as broker:
        assert "refused the connection: Not authorized" in complaint(board_behind(broker))


def test_a_broker_that_does_not_let_us_ask_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("topic read lastlayer/#\n")
    (tmp_path / "acl").chmod(0o600)
    with Mosquitto(tmp_path, settings=[f"acl_file {tmp_path / 'acl'}"]) as broker:
        said = complaint(board_behind(broker))
    assert "does not take lastlayer/porch/exchange/examples/" in said
    assert "Not authorized: allow it to clients without a login in its ACL" in said


@pytest.mark.parametrize("setting", ["max_packet_size 4000", "message_size_limit 4000"])
def test_a_parcel_that_the_broker_does_not_take_is_refused_at_once_in_words(setting: str, tmp_path: Path) -> None:
    with Mosquitto(tmp_path, settings=[setting]) as broker:
        began = time.monotonic()
        with pytest.raises(BoardError) as raised:
            board_behind(broker).send_head(b"x" * 5000)
    assert time.monotonic() - began < SOON_S
    size = 5000 + len("lastlayer/porch/exchange/head/0123456789abcdef") + 8
    said = str(raised.value)
    if setting.startswith("max"):
        assert f"takes packets of 4000 bytes at most, and this one has {size}: raise its limit (max_packet_size" in said
    else:
        assert "perhaps 5000 bytes are more than the broker takes" in said


def test_examples_come_in_pages_that_the_broker_lets_through(state: Path, tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path, settings=["max_packet_size 4000"]) as broker,
        Daemon(state, {"mqtt": {"host": broker.host, "port": broker.port, "node": "porch"}}) as daemon,
    ):
        retained(broker, "lastlayer/porch/availability")
        words = (f"mqtt://{broker.host}:{broker.port}/porch", "--out", tmp_path / "all", "--json")
        found = json.loads(trainer("collect", *words).stdout)
        assert (found["added"], found["failed"]) == (80, {})
        status = daemon.ask("GET", "/v1/status")["mqtt"]
        assert (status["connected"], status["dropped"]) == (True, 0)
        assert broker.log.count("as lastlayer-porch (") == 1
        assert status["too_large"] >= 1, "the discovery, as one message"


def test_a_page_that_no_example_fits_into_is_refused_in_words(state: Path, tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path, settings=["max_packet_size 500"]) as broker,
        Daemon(state, {"mqtt": {"host": broker.host, "port": broker.port, "node": "porch"}}),
    ):
        retained(broker, "lastlayer/porch/availability")
        too_large = r"one example takes \d+ bytes, and the MQTT broker allows \d+: raise its limit"
        with pytest.raises(BoardRefusalError, match=too_large):
            board_behind(broker).page("0" * 16)


@pytest.mark.parametrize("refusal", [b"\x20\x02\x00\x01", b"\x20\x03\x00\x84\x00", b""])
def test_a_broker_that_knows_no_mqtt_5_is_asked_in_3_1_1(refusal: bytes) -> None:
    versions, question = [], b""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            nonlocal question
            for _ in range(2):
                connection, _ = listening.accept()
                with connection:
                    versions.append(connection.recv(1000)[8])  # after the fixed header (2) and the name (6)
                    connection.sendall(b"\x20\x02\x00\x00" if versions[-1] == 4 else refusal)
                    if versions[-1] == 4:
                        connection.sendall(b"\x90\x03" + connection.recv(1000)[2:4] + b"\x01")
                        question = connection.recv(1000)

        thread = threading.Thread(target=serve, name="broker")
        thread.start()
        config = MqttConfig(host="127.0.0.1", port=listening.getsockname()[1], node="porch")
        with pytest.raises(BoardError, match="closed the connection before mqtt://old/porch had answered"):
            MqttBoard("mqtt://old/porch", Endpoint.of(config)).page("0" * 16)
        thread.join()
    assert versions == [5, 4]
    assert b"lastlayer/porch/exchange/examples/" in question
