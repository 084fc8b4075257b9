"""Which task of a board is meant, over HTTP and over MQTT, and what a board that does not have it says."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.cache import Cache
from agent.config import MqttConfig
from agent.reporting.mqtt.endpoint import Endpoint
from agent.vision.bundle import DEFAULT
from agent.vision.importing import import_model
from tests.conftest import crops
from tests.daemon import PATIENCE_S, ROOT, Daemon, lastlayer, trainer
from tests.mosquitto import Listener, Mosquitto
from tests.trainer.fleet.test_wicked_boards import page
from tests.trainer.fleet.wicked import Answer, answering, reply
from tests.waiting import until
from trainer.cli import main
from trainer.fleet.boards import Board, HttpBoard
from trainer.fleet.collect import collect
from trainer.fleet.mqtt import MqttBoard

NETWORKS = ROOT / "tests" / "vision" / "networks"
SEVERAL = "this board has several tasks: say which one of gate, spaces is meant"
TAKEN = {"version": "2", "accepted": True, "reason": "good"}
SENDINGS: list[tuple[str, str, Callable[[Board], Any]]] = [
    ("/v1/examples?start=0000000000000000&limit=256", "examples", lambda board: board.page("0" * 16)),
    ("/v1/heads", "head", lambda board: board.send_head(b"parcel")),
    ("/v1/models", "backbone", lambda board: board.send_backbone(b"parcel")),
]


def refused(status: str, error: str) -> Answer:
    body = json.dumps({"error": error}).encode()
    return lambda connection, _: connection.sendall(reply(body, status))


@pytest.mark.parametrize(("path", "_what", "send"), SENDINGS)
@pytest.mark.parametrize("task", [None, "default", "gate"])
def test_over_http_the_task_stands_in_the_query(
    task: str | None, path: str, _what: str, send: Callable[[Board], Any]
) -> None:
    asked = []

    def board(connection: socket.socket, path: str) -> None:
        asked.append(path)
        connection.sendall(reply(page(1) if "examples" in path else json.dumps(TAKEN).encode()))

    with answering(board) as url:
        send(HttpBoard(url, None, None, task))
    assert asked == [path if task is None else f"{path}{'&' if '?' in path else '?'}task={task}"]


@contextmanager
def replying(mosquitto: Mosquitto, answer: bytes) -> Iterator[list[str]]:
    """The topics, below exchange and without their keys, of the one question that is answered so."""
    topics: list[str] = []
    with Listener(mosquitto, "lastlayer/porch/exchange/#") as listener:

        def reply_once() -> None:
            listener.wait_for("lastlayer/porch/exchange/#")
            what, key, *task = listener.heard[0][0].split("/")[3:]
            topics.append("/".join([what, *task]))
            listener.publish(f"lastlayer/porch/exchanged/{key}", answer)

        thread = threading.Thread(target=reply_once, name="replying")
        thread.start()
        yield topics
        thread.join()


def behind(broker: Mosquitto, task: str | None) -> MqttBoard:
    endpoint = Endpoint.of(MqttConfig(host=broker.host, port=broker.port, node="porch"))
    return MqttBoard(f"mqtt://{broker.host}/porch", endpoint, task)


@pytest.mark.parametrize(("_path", "what", "send"), SENDINGS)
@pytest.mark.parametrize("task", [None, "gate"])
def test_over_mqtt_the_task_is_a_level_behind_the_key(
    mosquitto: Mosquitto, task: str | None, _path: str, what: str, send: Callable[[Board], Any]
) -> None:
    answer = page(1) if what == "examples" else json.dumps({"ok": True, **TAKEN}).encode()
    with replying(mosquitto, answer) as topics:
        send(behind(mosquitto, task))
    assert topics == [what if task is None else f"{what}/{task}"]


def test_a_board_that_refuses_the_task_over_mqtt_is_named_and_the_others_go_on(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    refusal = b'{"ok":false,"error":"there is no task \'gate\' here: there is default"}'
    with replying(mosquitto, refusal), answering(lambda connection, _: connection.sendall(reply(page(1)))) as url:
        porch = behind(mosquitto, "gate")
        found = collect([porch, HttpBoard(url, None, None, "gate")], tmp_path / "all", {}, lambda board, page: None)
    assert {address: str(wrong) for address, wrong in found.failed.items()} == {
        porch.address: f"{porch.address}: there is no task 'gate' here: there is default"
    }
    assert (found.boards[url], found.added) == (1, 1)


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found"])
def test_a_board_that_must_be_told_which_of_its_tasks_is_named_and_the_others_are_read(
    tmp_path: Path, status: str
) -> None:
    honest = reply(page(1, 2))
    with (
        answering(refused(status, SEVERAL)) as porch,
        answering(lambda connection, _: connection.sendall(honest)) as shed,
    ):
        ended = trainer("collect", porch, shed, "--out", tmp_path / "all", expect=7)
    assert f"not read to the end: {porch}: {SEVERAL}" in ended.stderr
    assert "is this a board?" not in ended.stderr
    assert f"{shed}: 2 examples" in ended.stdout
    with Cache.read(tmp_path / "all" / "cache") as cache:
        assert cache.label_counts() == {"glass": 2}


def test_a_board_without_the_task_refuses_a_head_and_the_others_take_it(state: Path) -> None:
    taken = reply(json.dumps(TAKEN).encode())
    with (
        answering(refused("404 Not Found", "there is no task 'gate' here: there is default")) as porch,
        answering(lambda connection, _: connection.sendall(taken)) as shed,
    ):
        ended = trainer("publish", "head", state, porch, shed, "--task", "gate", expect=8)
    lines = [line.split(maxsplit=3) for line in ended.stdout.splitlines()[1:]]
    assert lines == [
        [porch, "refused", "it", "there is no task 'gate' here: there is default"],
        [shed, "took", "it", "good"],
    ]


@pytest.mark.parametrize("name", ["", "../gate", "a/b", "gate?x=1", "gäte", "-gate", "x" * 41, "a b", "gate\n", "+"])
@pytest.mark.parametrize(
    "words",
    [["collect", "http://localhost:1", "--out", "all"], ["publish", "head", "state", "mqtt://localhost:1/porch"]],
)
def test_a_name_that_no_task_has_is_refused_before_anything_is_asked(
    words: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, f"--task={name}"]) == 2
    assert "can be no task's name: it is a word of at most 40 letters" in capsys.readouterr().err


TASKS = {
    "gate": {"views": [{"camera": "yard"}]},
    "spaces": {"views": [{"camera": "yard", "name": "left", "region": [0.0, 0.0, 0.5, 1.0]}]},
}


@pytest.fixture
def boards(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[dict[str, Daemon]]:
    """Two that are asked the same two questions, and one that knows of no tasks."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                Daemon(
                    tmp_path / name, {"mqtt": {"host": mosquitto.host, "port": mosquitto.port, "node": name}, **more}
                )
            )
            for name, more in {"porch": {"tasks": TASKS}, "shed": {"tasks": TASKS}, "attic": {}}.items()
        }


def addresses(boards: dict[str, Daemon], mosquitto: Mosquitto, way: str) -> list[str]:
    if way == "http":
        return [board.url for board in boards.values()]
    return [f"mqtt://{mosquitto.host}:{mosquitto.port}/{name}" for name in boards]


def as_json(*words: object, expect: int = 0) -> Any:
    return json.loads(trainer(*words, "--json", expect=expect).stdout)


def teach(board: Daemon, query: str, photographs: list[np.ndarray], labels: tuple[str, str], seed: int) -> None:
    for photograph, label in zip(photographs, labels, strict=True):
        for payload in crops(photograph, 10, seed):
            board.ask("POST", f"/v1/frames?camera=yard&{query}&label={label}", payload)


@pytest.mark.parametrize("way", ["http", "mqtt"])
def test_boards_learn_together_what_one_of_their_tasks_asks(
    way: str, boards: dict[str, Daemon], mosquitto: Mosquitto, photographs: list[np.ndarray], tmp_path: Path
) -> None:
    porch, shed, attic = boards.values()
    of_porch, of_shed, of_attic = addresses(boards, mosquitto, way)
    teach(porch, "task=gate", photographs, ("closed", "open"), 1)
    teach(shed, "task=gate", photographs, ("closed", "open"), 2)
    teach(shed, "task=spaces&view=left", photographs, ("free", "taken"), 3)
    teach(attic, "task=default", photographs, ("cat", "dog"), 4)

    out = tmp_path / "gates"
    found = as_json("collect", of_porch, of_attic, of_shed, "--task", "gate", "--out", out, expect=7)
    assert found["boards"] == {of_porch: 20, of_attic: 0, of_shed: 20}
    assert found["failed"] == {of_attic: f"{of_attic}: there is no task 'gate': there is default"}
    with Cache.read(out / "cache") as cache:
        assert cache.label_counts() == {"closed": 20, "open": 20}
    lastlayer("--state", out, "retrain")
    words = ("publish", "head", out, of_porch, of_attic, of_shed, "--task", "gate")
    assert [(each["reached"], each["accepted"]) for each in as_json(*words, expect=8)] == [
        (True, True),
        (True, False),
        (True, True),
    ]
    for board in (porch, shed):
        heads = {name: task["head"] for name, task in board.ask("GET", "/v1/tasks")["tasks"].items()}
        assert heads == {"gate": "1", "spaces": None}
        for photograph, label in zip(photographs, ("closed", "open"), strict=True):
            (payload,) = crops(photograph, 1, seed=9)
            said = board.ask("POST", "/v1/frames?camera=yard&task=gate", payload)
            assert said["predictions"][0]["label"] == label

    said = trainer("collect", of_shed, of_attic, "--out", tmp_path / "any", expect=7)
    assert f"not read to the end: {of_shed}: " in said.stderr and "gate, spaces" in said.stderr
    assert f"{of_attic}: 20 examples" in said.stdout, "it has no other task"
    assert as_json("collect", of_attic, "--task", "default", "--out", tmp_path / "any")["known"] == 20


@pytest.mark.parametrize("way", ["http", "mqtt"])
def test_a_new_backbone_is_of_one_task(
    way: str, boards: dict[str, Daemon], mosquitto: Mosquitto, tmp_path: Path
) -> None:
    porch = boards["porch"]
    of_porch, _, of_attic = addresses(boards, mosquitto, way)
    import_model(NETWORKS / "mean_uint8.tflite", tmp_path / "mean")
    refused, taken = as_json("publish", "backbone", tmp_path / "mean", of_porch, of_attic, expect=8)
    assert (refused["reached"], refused["accepted"], taken["accepted"]) == (True, False, True)
    assert "gate, spaces" in refused["reason"]
    (taken,) = as_json("publish", "backbone", tmp_path / "mean", of_porch, "--task", "spaces")
    assert taken["accepted"]

    def backbones() -> dict[str, str] | None:
        try:
            return {name: task["backbone"] for name, task in porch.ask("GET", "/v1/tasks")["tasks"].items()}
        except OSError:
            return None  # it begins anew

    until(lambda: backbones() == {"gate": DEFAULT, "spaces": "mean_uint8"}, PATIENCE_S)
