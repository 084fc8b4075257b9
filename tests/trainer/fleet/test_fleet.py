"""Three boards and a desktop: what the boards learnt comes together, and one head goes out to all of them."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.cache import Cache
from agent.vision.bundle import DEFAULT
from agent.vision.importing import import_model
from tests.conftest import crops, encoded
from tests.daemon import PATIENCE_S, ROOT, Daemon, lastlayer, trainer
from tests.mosquitto import Listener, Mosquitto, retained
from tests.waiting import until

NETWORKS = ROOT / "tests" / "vision" / "networks"
TOKEN = "a token that is long enough".replace(" ", "-")


def collect(*words: object, expect: int = 0) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(trainer("collect", *words, "--json", expect=expect).stdout)
    return answer


def publish(*words: object, expect: int = 0) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = json.loads(trainer("publish", *words, "--json", expect=expect).stdout)
    return answer


@pytest.fixture
def boards(tmp_path: Path) -> Iterator[list[Daemon]]:
    """Three that have learnt nothing yet."""
    token_file = tmp_path / "token"
    token_file.write_text(f"{TOKEN}\n")
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                Daemon(tmp_path / name, {"mqtt": {"node": name}, "http": {"token_file": str(token_file)}}, token=TOKEN)
            )
            for name in ("porch", "shed", "attic")
        ]


def teach(board: Daemon, photograph: np.ndarray, label: str, count: int, seed: int) -> None:
    """By frames of no named camera: their looks alone say which belong together, and some come to validate by."""
    for payload in crops(photograph, count, seed):
        board.ask("POST", f"/v1/frames?label={label}&new=1", payload)


def test_one_head_for_all(boards: list[Daemon], photographs: list[np.ndarray], tmp_path: Path) -> None:
    china, flower = photographs
    porch, shed, attic = boards
    teach(porch, china, "china", 20, seed=1)
    teach(shed, flower, "flower", 20, seed=2)
    teach(shed, flower, "Flower", 2, seed=3)
    access = ["--token-file", tmp_path / "token"]
    addresses = [board.url for board in boards]

    found = collect(*addresses, *access, "--out", tmp_path / "all", "--rename", "china=temple")
    assert found["boards"] == {porch.url: 20, shed.url: 22, attic.url: 0}
    assert (found["added"], found["failed"]) == (42, {})
    assert found["merged_labels"] == {"china": "temple", "Flower": "flower"}
    with Cache.read(tmp_path / "all" / "cache") as cache:
        assert cache.label_counts() == {"temple": 20, "flower": 22}
    again = collect(*addresses, *access, "--out", tmp_path / "all", "--rename", "china=temple")
    assert (again["added"], again["known"]) == (0, 42)

    lastlayer("--state", tmp_path / "all", "retrain")
    deliveries = publish("head", tmp_path / "all", *addresses, *access)
    assert [(each["reached"], each["accepted"]) for each in deliveries] == [(True, True)] * 3
    for board in boards:
        for photograph, label in ((china, "temple"), (flower, "flower")):
            (payload,) = crops(photograph, 1, seed=9)
            assert board.ask("POST", "/v1/frames", payload)["predictions"][0]["label"] == label
    attic.ask("POST", "/v1/heads/rollback", expect=404)  # it had none before


def test_a_board_refuses_what_is_worse_and_says_so(
    boards: list[Daemon], photographs: list[np.ndarray], tmp_path: Path
) -> None:
    china, flower = photographs
    porch, shed, _ = boards
    for board, (first, second) in ((porch, ("china", "flower")), (shed, ("flower", "china"))):  # the shed mixes them up
        teach(board, china, first, 30, seed=1)
        teach(board, flower, second, 30, seed=2)
        board.ask("POST", "/v1/retrain", expect=202)
        board.wait_retrained()
    access = ["--token-file", tmp_path / "token"]
    collect(shed.url, *access, "--out", tmp_path / "wrong")
    lastlayer("--state", tmp_path / "wrong", "retrain")
    (delivery,) = publish("head", tmp_path / "wrong", porch.url, *access, expect=8)
    assert (delivery["reached"], delivery["accepted"]) == (True, False)
    assert "worse than the head in service" in delivery["reason"]
    assert porch.ask("GET", "/v1/heads")["active"] == "1"


def test_a_board_that_is_away_keeps_nobody_else_from_it(boards: list[Daemon], state: Path, tmp_path: Path) -> None:
    porch, shed, attic = boards
    shed.kill()
    access = ["--token-file", tmp_path / "token"]
    deliveries = publish("head", state, porch.url, shed.url, attic.url, *access, expect=7)
    assert [each["reached"] for each in deliveries] == [True, False, True]
    found = collect(porch.url, shed.url, *access, "--out", tmp_path / "all", expect=7)
    assert list(found["failed"]) == [shed.url]


def test_without_the_token_nothing_comes_and_nothing_goes(boards: list[Daemon], state: Path, tmp_path: Path) -> None:
    (delivery,) = publish("head", state, boards[0].url, expect=8)
    assert "Authorization" in delivery["reason"]
    found = collect(boards[0].url, "--out", tmp_path / "all", expect=7)
    assert "Authorization" in found["failed"][boards[0].url]


def test_a_new_backbone_goes_out_and_can_be_taken_back(
    boards: list[Daemon], photographs: list[np.ndarray], tmp_path: Path
) -> None:
    porch = boards[0]
    teach(porch, photographs[0], "china", 5, seed=1)
    mean = tmp_path / "mean"
    import_model(NETWORKS / "mean_uint8.tflite", mean)
    (delivery,) = publish("backbone", mean, porch.url, "--token-file", tmp_path / "token")
    assert delivery["accepted"]

    until(lambda: _backbone_of(porch) == "mean_uint8", PATIENCE_S)
    assert porch.ask("GET", "/v1/status")["examples"] == 0
    porch.ask("POST", "/v1/frames", encoded(photographs[1], "JPEG"))
    assert porch.ask("GET", "/v1/models")["models"][0] == "first"
    porch.ask("POST", "/v1/models/rollback")
    until(lambda: _backbone_of(porch) == DEFAULT, PATIENCE_S)
    assert porch.ask("GET", "/v1/status")["examples"] == 5


def test_boards_of_two_backbones_are_not_mixed(
    boards: list[Daemon], photographs: list[np.ndarray], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    pictures = tmp_path / "pictures" / "china"
    pictures.mkdir(parents=True)
    shutil.move(_picture(tmp_path, photographs[0]), pictures / "one.png")
    lastlayer("--state", other, "--backbone", NETWORKS / "mean_uint8.tflite", "learn", tmp_path / "pictures")
    teach(boards[0], photographs[0], "china", 2, seed=1)
    with Daemon(other) as fourth:
        words = (boards[0].url, fourth.url, "--token-file", tmp_path / "token", "--out", tmp_path / "all")
        complaint = trainer("collect", *words, expect=5).stderr
    assert fourth.url in complaint
    assert "another backbone" in complaint


def _picture(folder: Path, photograph: np.ndarray) -> Path:
    path = folder / "picture.png"
    path.write_bytes(encoded(photograph, "PNG"))
    return path


def test_boards_that_only_the_broker_reaches_learn_together_too(
    mosquitto: Mosquitto, photographs: list[np.ndarray], tmp_path: Path
) -> None:
    china, flower = photographs
    names = ("porch", "shed", "attic")
    broker = f"mqtt://{mosquitto.host}:{mosquitto.port}"
    with ExitStack() as stack:
        configs = {name: {"mqtt": {"host": mosquitto.host, "port": mosquitto.port, "node": name}} for name in names}
        porch, shed, attic = (stack.enter_context(Daemon(tmp_path / name, configs[name])) for name in names)
        teach(porch, china, "china", 20, seed=1)
        teach(shed, flower, "flower", 20, seed=2)
        addresses = [f"{broker}/{name}" for name in names]
        found = collect(*addresses, "--out", tmp_path / "all")
        assert (found["boards"], found["failed"]) == (dict(zip(addresses, (20, 20, 0), strict=True)), {})
        lastlayer("--state", tmp_path / "all", "retrain")
        deliveries = publish("head", tmp_path / "all", *addresses)
        assert [each["accepted"] for each in deliveries] == [True] * 3
        for name in names:
            assert retained(mosquitto, f"lastlayer/{name}/head")["labels"] == ["china", "flower"]
        (payload,) = crops(flower, 1, seed=9)
        assert attic.ask("POST", "/v1/frames", payload)["predictions"][0]["label"] == "flower"

        import_model(NETWORKS / "mean_uint8.tflite", tmp_path / "mean")
        (delivery,) = publish("backbone", tmp_path / "mean", f"{broker}/porch")
        assert delivery["accepted"]
        until(lambda: _backbone_of(porch) == "mean_uint8", PATIENCE_S)


def test_rubbish_on_the_topics_of_an_exchange_is_refused_and_ends_nothing(
    mosquitto: Mosquitto, state: Path, jpegs: list[bytes]
) -> None:
    topics = "lastlayer/board/exchange"
    with (
        Daemon(state, {"mqtt": {"host": mosquitto.host, "port": mosquitto.port, "node": "board"}}) as board,
        Listener(mosquitto, "lastlayer/board/exchanged/#") as listener,
    ):
        retained(mosquitto, "lastlayer/board/availability")
        rubbish = {
            "examples/a": b"\xff" * 100,
            "examples/b": b"[" * 4000,
            "examples/c": b'{"start": "zz"}',
            "examples/d": b'{"limit": 1e99}',
            "head/e": b"no parcel",
            "backbone/f": jpegs[0],
            "nonsense/g": b"{}",
        }
        for topic, payload in rubbish.items():
            listener.publish(f"{topics}/{topic}", payload)
            answer = listener.wait_for(f"lastlayer/board/exchanged/{topic[-1]}")[0]
            assert (answer["ok"], bool(answer["error"])) == (False, True)
        listener.publish(f"{topics}/head/{'x' * 100}", b"")
        listener.publish(f"{topics}/head", b"")
        assert board.ask("POST", "/v1/frames", jpegs[0])["head"] == "1"


def _backbone_of(board: Daemon) -> str | None:
    try:
        return str(board.ask("GET", "/v1/status")["backbone"])
    except OSError:
        return None  # it begins anew
