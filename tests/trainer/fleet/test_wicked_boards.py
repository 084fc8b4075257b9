"""What does not answer as a board is refused by name, soon and in little memory, and the other boards go on."""

import gzip
import hashlib
import json
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from agent.cache import Cache, Layout
from agent.config import MqttConfig
from agent.errors import LastlayerError
from agent.records import Example
from agent.reporting.mqtt.endpoint import Endpoint
from agent.state.parcels import PAGE_EXAMPLES, Page, pack_page
from tests.conftest import crops
from tests.daemon import Daemon, trainer
from tests.mosquitto import Listener, Mosquitto
from tests.trainer.fleet.wicked import answering, endlessly, reply
from trainer.fleet import boards
from trainer.fleet import collect as collecting
from trainer.fleet import mqtt as over_mqtt
from trainer.fleet.boards import BoardError, HttpBoard, publish
from trainer.fleet.collect import Collected, collect

LAYOUT = Layout.of("0" * 32, 5, "int8", 0.0235285, 3)
SOON_S = 20.0


def page(*frame_ids: int, following: int | None = None, layout: Layout = LAYOUT, **more: Any) -> bytes:
    rows = np.zeros(layout.size, layout.dtype)
    known = {"label": "glass", "received_ms": 1, "camera": "", **more}
    examples = [Example(f"{n:016x}", bottleneck=rows, **known) for n in frame_ids]
    return pack_page(Page("porch", layout, examples, None if following is None else f"{following:016x}"))


def start_of(path: str) -> int:
    return int(parse_qs(urlsplit(path).query)["start"][0], 16)


def endless_body(connection: socket.socket, _: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    endlessly(connection, bytes(1 << 16))


def endless_chunks(connection: socket.socket, _: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    endlessly(connection, b"10000\r\n" + bytes(1 << 16) + b"\r\n")


def announced_body(connection: socket.socket, _: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\nand no more")
    connection.shutdown(socket.SHUT_WR)


def announced_chunk(connection: socket.socket, _: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\nand no more")
    connection.shutdown(socket.SHUT_WR)


def dripping_body(connection: socket.socket, _: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    endlessly(connection, b"x", threading.Event())


def dripping_headers(connection: socket.socket, _: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    endlessly(connection, b"x", threading.Event())


def for_ever_to_be_continued(connection: socket.socket, _: str) -> None:
    endlessly(connection, b"HTTP/1.1 100 Continue\r\n\r\n", threading.Event())


def silence(connection: socket.socket, _: str) -> None:
    connection.recv(1)


def elsewhere(connection: socket.socket, _: str) -> None:
    connection.sendall(reply(b"", "302 Found", "Location: /v1/examples"))


def later(connection: socket.socket, _: str) -> None:
    connection.sendall(reply(b"", "503 Service Unavailable", "Retry-After: 1000000"))


def broken(connection: socket.socket, _: str) -> None:
    connection.sendall(reply(b'{"error": "\\ud800 \\u001b[2J"}', "500 Internal Server Error"))


def packed(connection: socket.socket, _: str) -> None:
    connection.sendall(reply(gzip.compress(bytes(1 << 20)) * 500, "200 OK", "Content-Encoding: gzip"))


def another_protocol(connection: socket.socket, _: str) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


def a_page_of_html(connection: socket.socket, _: str) -> None:
    connection.sendall(reply(b"<html>", "200 OK", "Content-Type: text/html"))


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (endless_body, "is given up: its answer has more than"),
        (endless_chunks, "is given up: its answer has more than"),
        (announced_body, "does not answer"),
        (announced_chunk, "does not answer"),
        (dripping_body, "is given up: its answer was not complete after 1 s"),
        (dripping_headers, "is given up: its answer was not complete after 1 s"),
        (for_ever_to_be_continued, "is given up: its answer was not complete after 1 s"),
        (silence, "is given up: its answer was not complete after 1 s"),
        (elsewhere, "status 302, which leads to /v1/examples"),
        (later, "status 503|does not answer"),
        (broken, ": \N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER}\\[2J"),
        (packed, "the parcel is damaged or no parcel at all"),
        (another_protocol, "does not answer"),
        (a_page_of_html, "the parcel is damaged or no parcel at all"),
    ],
)
def test_an_answer_without_an_end_or_sense_is_given_up(monkeypatch: pytest.MonkeyPatch, answer: Any, what: str) -> None:
    monkeypatch.setattr(boards, "TIMEOUT_S", 1.0)
    began = time.monotonic()
    tracemalloc.start()
    with answering(answer) as url, pytest.raises(LastlayerError, match=what):
        HttpBoard(url, "token", None).page("0" * 16)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.monotonic() - began < SOON_S
    assert peak < 4 * boards.MAX_ANSWER_BYTES


@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b"[]", b"{}", b'{"accepted": 1}', b'{"accepted": null}', b"\xff", b"", b'"accepted"']
)
def test_what_a_board_says_of_a_head_is_a_truth_value_or_no_answer(body: bytes) -> None:
    with answering(lambda connection, _: connection.sendall(reply(body))) as url:
        (delivery,) = publish([HttpBoard(url, None, None)], lambda board: board.send_head(b"parcel"))
    assert (delivery.reached, delivery.accepted) == (False, False)
    assert "something else than a board" in delivery.reason


def test_what_a_board_says_is_fit_to_be_shown() -> None:
    said = {"accepted": False, "reason": "\ud800\x1b[2J" + "x" * 1_000_000, "version": {"deep": []}, "top1": 1e999}
    body = json.dumps(said).encode()
    with answering(lambda connection, _: connection.sendall(reply(body))) as url:
        (delivery,) = publish([HttpBoard(url, None, None)], lambda board: board.send_head(b"parcel"))
    assert (delivery.reached, delivery.accepted) == (True, False)
    assert delivery.reason.startswith("\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[2Jx")
    assert len(delivery.reason) == boards.MAX_WORDS
    assert delivery.answer.keys() == {"accepted", "reason"}


def collected(folder: Path, *urls: str) -> Collected:
    return collect([HttpBoard(url, None, None) for url in urls], folder, {}, lambda board, page: None)


def honest(connection: socket.socket, path: str) -> None:
    assert start_of(path) == 0
    connection.sendall(reply(page(1, 2, 3)))


def round_in_a_circle(connection: socket.socket, path: str) -> None:
    start = start_of(path)
    connection.sendall(reply(page(start + 7, following=start + 8) if start < 100 else page(50, following=60)))


def always_the_same(connection: socket.socket, path: str) -> None:
    connection.sendall(reply(page(following=start_of(path))))


def without_end(connection: socket.socket, path: str) -> None:
    connection.sendall(reply(page(following=start_of(path) + 1)))


def full_pages_without_end(connection: socket.socket, path: str) -> None:
    start = start_of(path) + 1000
    connection.sendall(reply(page(*range(start, start + PAGE_EXAMPLES), following=start + PAGE_EXAMPLES)))


def a_label_for_each(connection: socket.socket, path: str) -> None:
    start = start_of(path) + 1000
    connection.sendall(reply(page(start, following=start + 1, label=f"label {start}")))


def of_another_backbone(connection: socket.socket, path: str) -> None:
    connection.sendall(reply(page(4, layout=replace(LAYOUT, backbone_id="f" * 32))))


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (round_in_a_circle, "goes back behind it"),
        (always_the_same, "goes back behind it"),
        (without_end, "come to no end"),
        (full_pages_without_end, "come to no end"),
        (a_label_for_each, "more than 50 labels"),
        (of_another_backbone, "has another backbone"),
    ],
)
def test_pages_that_come_to_no_end_are_left_and_the_other_boards_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: Any, what: str
) -> None:
    monkeypatch.setattr(collecting, "MAX_EXAMPLES", 2000)
    monkeypatch.setattr(collecting, "MAX_LABELS", 50)
    with answering(honest) as first, answering(answer) as wicked, answering(honest) as last:
        found = collected(tmp_path / "cache", first, wicked, last)
    assert list(found.failed) == [wicked]
    assert what in str(found.failed[wicked])
    assert (found.boards[first], found.boards[last]) == (3, 3)
    with Cache.read(tmp_path / "cache") as cache:
        assert [cache.label_of(f"{n:016x}") for n in (1, 2, 3)] == ["glass"] * 3


def test_a_board_whose_answers_are_encrypted_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "board.crt", tmp_path / "board.key"
    words = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {key} -out {certificate} -days 2"
    of_board = ["-subj", "/CN=board", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", *words.split(), *of_board], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with answering(honest, tls) as url:
        assert len(HttpBoard(url, None, certificate).page("0" * 16).examples) == 3
    monkeypatch.setattr(boards, "TIMEOUT_S", 1.0)
    for answer in (dripping_body, dripping_headers, endless_body):
        with answering(answer, tls) as url, pytest.raises(BoardError, match="is given up"):
            HttpBoard(url, None, certificate).page("0" * 16)
    with answering(honest) as url, pytest.raises(BoardError, match="does not answer"):
        HttpBoard(url.replace("http", "HTTPS"), "token", certificate).page("0" * 16)


def test_a_board_without_examples_does_not_say_what_the_others_must_have(tmp_path: Path) -> None:
    empty = reply(page(layout=replace(LAYOUT, size=7, backbone_id="f" * 32)))
    with answering(lambda connection, _: connection.sendall(empty)) as wicked, answering(honest) as last:
        found = collected(tmp_path / "cache", wicked, last)
    assert (found.failed, found.added) == ({}, 3)


def test_a_wicked_board_is_named_and_an_honest_one_collected(tmp_path: Path, photographs: list[np.ndarray]) -> None:
    """Over the command line, beside a real daemon."""

    def wicked(connection: socket.socket, _: str) -> None:
        content = page(1).replace(b',1,"",', b',%d,"",' % 2**70)
        connection.sendall(reply(content[:-32] + hashlib.sha256(content[:-32]).digest()))

    with Daemon(tmp_path / "porch") as porch, answering(wicked) as url:
        for payload in crops(photographs[0], 3, 1):
            porch.ask("POST", "/v1/frames?label=china", payload)
        ended = trainer("collect", url, porch.url, "--out", tmp_path / "all", "--json", expect=7)
    found = json.loads(ended.stdout)
    assert found["boards"] == {url: 0, porch.url: 3}
    assert "does not fit into 64 bits" in found["failed"][url]
    assert f"not read to the end: {url}: the parcel does not begin with" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "answer",
    [b"", b"[" * 100_000, b'{"ok":false', b'{"ok":false,"error":"\\ud800"}', page(5)[:-1], bytes(2000)],
    ids=["nothing", "deep", "torn", "surrogate", "damaged", "long"],
)
def test_what_a_broker_brings_from_a_wicked_board_is_refused_too(
    mosquitto: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr(over_mqtt, "MAX_ANSWER_BYTES", 1000 if len(answer) == 2000 else boards.MAX_ANSWER_BYTES)
    address = f"mqtt://{mosquitto.host}/porch"
    board = over_mqtt.MqttBoard(
        address, Endpoint.of(MqttConfig(host=mosquitto.host, port=mosquitto.port, node="porch"))
    )
    with Listener(mosquitto, "lastlayer/porch/exchange/#") as listener, answering(honest) as url:

        def reply_once() -> None:
            listener.wait_for("lastlayer/porch/exchange/#")
            key = listener.heard[-1][0].rpartition("/")[2]
            listener.publish(f"lastlayer/porch/exchanged/{key}", answer)

        replying = threading.Thread(target=reply_once, name="replying")
        replying.start()
        found = collect([board, HttpBoard(url, None, None)], tmp_path / "cache", {}, lambda board, page: None)
        replying.join()
    assert list(found.failed) == [address]
    assert str(found.failed[address]).isprintable()
    assert found.boards[url] == 3
