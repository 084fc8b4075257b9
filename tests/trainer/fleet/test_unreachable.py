"""What is said of a board that cannot be reached: once, at once, and what to do."""

import logging
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import MqttConfig
from agent.reporting.mqtt.endpoint import Endpoint
from tests.daemon import trainer
from tests.trainer.fleet.wicked import answering, reply
from trainer.fleet import boards, mqtt
from trainer.fleet.boards import BoardError, BoardRefusalError, HttpBoard
from trainer.fleet.mqtt import MqttBoard

SOON_S = 8.0  # of a busy machine


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def complaint(board: boards.Board, caplog: pytest.LogCaptureFixture, kind: type[Exception] = BoardError) -> str:
    began = time.monotonic()
    with caplog.at_level(logging.WARNING), pytest.raises(kind) as raised:
        board.page("0" * 16)
    assert time.monotonic() - began < SOON_S
    assert not caplog.records
    said = str(raised.value)
    assert "Error(" not in said and "\n" not in said and "Pool" not in said
    return said


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[str]:
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=board"]
    key, certificate = tmp_path / "own.key", tmp_path / "own.crt"
    subprocess.run([*words, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with answering(lambda connection, _: connection.sendall(reply(b"{}")), context) as url:
        yield url.lower()


def test_a_board_that_is_off(caplog: pytest.LogCaptureFixture) -> None:
    said = complaint(HttpBoard(f"http://127.0.0.1:{closed_port()}", None, None), caplog)
    assert "cannot be reached: Connection refused" in said


def test_a_name_that_nobody_has(caplog: pytest.LogCaptureFixture) -> None:
    assert "cannot be found" in complaint(HttpBoard("http://nobody.invalid:8080", None, None), caplog)


def test_a_certificate_that_nobody_vouches_for(encrypted: str, caplog: pytest.LogCaptureFixture) -> None:
    said = complaint(HttpBoard(encrypted, None, None), caplog)
    assert "certificate that is not trusted" in said and "--ca FILE" in said


def test_a_certificate_of_another_name(encrypted: str, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    said = complaint(HttpBoard(encrypted, None, tmp_path / "own.crt"), caplog)
    assert "as its certificate does" in said


def test_https_where_there_is_http(caplog: pytest.LogCaptureFixture) -> None:
    with answering(lambda connection, _: connection.sendall(reply(b"{}"))) as url:
        said = complaint(HttpBoard(url.replace("http", "https"), None, None), caplog)
    assert "TLS" in said or "does not answer" in said


def test_what_speaks_no_http(caplog: pytest.LogCaptureFixture) -> None:
    with answering(lambda connection, _: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")) as url:
        assert "speaks no HTTP" in complaint(HttpBoard(url, None, None), caplog)


@pytest.mark.parametrize(
    ("status", "what"),
    [("401 No", "name its token by --token-file"), ("404 No", "is this a board?"), ("500 No", "HTTP status 500")],
)
def test_a_status_that_refuses(status: str, what: str, caplog: pytest.LogCaptureFixture) -> None:
    with answering(lambda connection, _: connection.sendall(reply(b"<html>", status))) as url:
        assert what in complaint(HttpBoard(url, None, None), caplog, BoardRefusalError)


def test_a_broker_that_is_off(caplog: pytest.LogCaptureFixture) -> None:
    board = MqttBoard("mqtt://b/porch", Endpoint.of(MqttConfig(host="127.0.0.1", port=closed_port(), node="porch")))
    assert "cannot be reached: Connection refused" in complaint(board, caplog)


def test_what_takes_a_connection_and_is_no_broker(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "CONNECT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = Endpoint.of(MqttConfig(host="127.0.0.1", port=silent.getsockname()[1], node="porch"))
        assert "does not speak MQTT there" in complaint(MqttBoard("mqtt://b/porch", endpoint), caplog)


def test_a_board_that_is_off_is_one_line_of_a_table(state: Path) -> None:
    address = f"http://127.0.0.1:{closed_port()}"
    ended = trainer("publish", "head", state, address, expect=7)
    assert ended.stderr == ""
    assert ended.stdout.count(address) == 1


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    ended = trainer("publish", "head", tmp_path / "nowhere", "http://127.0.0.1:1", expect=5)
    assert ended.stderr.startswith(f"lastlayer-trainer publish: there is no folder {tmp_path / 'nowhere'}")
    assert len(ended.stderr.splitlines()) == 1
