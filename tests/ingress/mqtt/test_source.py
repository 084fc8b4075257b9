"""The real daemon and a real broker, spoken to as cameras, people and dashboards do."""

import base64
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import crops
from tests.daemon import PATIENCE_S, Daemon
from tests.mosquitto import Listener, Mosquitto, retained
from tests.waiting import until

IN = "lastlayer/board"


def config(broker: Mosquitto, **more: Any) -> dict[str, Any]:
    return {"mqtt": {"host": broker.host, "port": broker.port, "node": "board"}, **more}


def counted(daemon: Daemon) -> dict[str, int]:
    return dict(daemon.ask("GET", "/v1/status")["sources"].get("mqtt", {}))


@pytest.mark.parametrize("v5", [False, True], ids=["3.1.1", "5"])
def test_frames_are_answered_by_camera_and_by_the_senders_own_name(
    v5: bool, state: Path, jpegs: list[bytes], mosquitto: Mosquitto
) -> None:
    with Daemon(state, config(mosquitto)), Listener(mosquitto, v5=v5) as client:
        client.wait_for(f"{IN}/availability", lambda said: said == "online")
        client.publish(f"{IN}/frame", jpegs[0], qos=0)
        nameless = client.wait_for(f"{IN}/result")[0]
        assert (nameless["camera"], nameless["label"], "ref" in nameless) == ("", "china", False)
        client.publish(f"{IN}/frame/front%2Fdoor/img 7", jpegs[1])
        named = client.wait_for(f"{IN}/result", count=2)[1]
        assert (named["camera"], named["ref"], named["label"]) == ("front/door", "img 7", "flower")
        assert re.fullmatch("[0-9a-f]{16}", named["frame_id"])
        assert (nameless["seq"], named["seq"]) == (1, 2)


def test_with_mqtt_5_the_answer_comes_where_the_sender_waits(
    state: Path, jpegs: list[bytes], mosquitto: Mosquitto
) -> None:
    with Daemon(state, config(mosquitto)) as daemon, Listener(mosquitto, "#", v5=True) as client:
        client.wait_for(f"{IN}/availability", lambda said: said == "online")
        client.publish(f"{IN}/frame/door", jpegs[0], response_topic="me/answers", correlation=b"\x00one")
        result = client.wait_for("me/answers")[0]
        assert client.correlations[[topic for topic, _ in client.heard].index("me/answers")] == b"\x00one"
        assert client.wait_for(f"{IN}/result")[0]["frame_id"] == result["frame_id"]
        label = {"frame_id": result["frame_id"], "label": "porcelain", "id": 7}
        client.publish(f"{IN}/label", label, response_topic="me/labels", correlation=b"two")
        answer = client.wait_for("me/labels")[0]
        assert (answer["ok"], answer["label"], answer["id"]) == (True, "porcelain", 7)
        slip = {"frame_id": result["frame_id"], "label": "porcelan"}
        client.publish(f"{IN}/label", slip, response_topic="me/labels", correlation=b"three")
        assert "did you mean 'porcelain'" in client.wait_for("me/labels", count=2)[1]["error"]
        client.publish(f"{IN}/label", {**slip, "new": True}, response_topic="me/labels", correlation=b"four")
        assert client.wait_for("me/labels", count=3)[2]["label"] == "porcelan"
        client.publish(f"{IN}/command/activate", {"version": "9"}, response_topic="me/heads", correlation=b"")
        assert "no head" in client.wait_for("me/heads")[0]["error"]
        # A sender cannot make the board talk to itself.
        client.publish(f"{IN}/frame", b"rubbish", response_topic=f"{IN}/command/retrain", correlation=b"")
        assert client.wait_for(f"{IN}/answer")[0]["command"] == "frame"
        assert daemon.ask("GET", "/v1/retrain") == {"state": "idle"}
        assert daemon.ask("GET", "/v1/status")["labels"]["porcelan"] == 1


def test_a_board_is_taught_over_mqtt_alone(state: Path, photographs: list[np.ndarray], mosquitto: Mosquitto) -> None:
    with Daemon(state, config(mosquitto)) as daemon, Listener(mosquitto) as client:
        client.wait_for(f"{IN}/head", lambda head: head["version"] == "1")
        for n, payload in enumerate(crops(photographs[0], 4, seed=3), 1):
            client.publish(f"{IN}/frame/door/{n}", payload)
            result = client.wait_for(f"{IN}/result", count=n)[-1]
            client.publish(f"{IN}/label", {"frame_id": result["frame_id"], "label": "china", "id": n})
            assert client.wait_for(f"{IN}/answer", count=n)[-1]["ok"] is True
        client.publish(f"{IN}/command/retrain")
        client.wait_for(f"{IN}/answer", lambda answer: answer == {**answer, "command": "retrain", "ok": True})
        client.wait_for(f"{IN}/retrain", lambda said: said["state"] == "done" and said["head"] == "2")
        client.wait_for(f"{IN}/head", lambda head: head["version"] == "2")
        client.publish(f"{IN}/command/rollback", {"id": "r1"})
        client.wait_for(f"{IN}/head", lambda head: head["version"] == "1", count=2)
        client.publish(f"{IN}/command/rollback", {"id": "r1"})  # delivered again
        again = client.wait_for(f"{IN}/answer", lambda answer: answer.get("id") == "r1", count=2)
        assert [answer["head"] for answer in again] == ["1", "1"]
        assert all(answer["ok"] for answer in again)
        client.publish(f"{IN}/command/activate", {"version": 2})
        client.wait_for(f"{IN}/head", lambda head: head["version"] == "2", count=2)
        assert daemon.ask("GET", "/v1/status")["examples"] == 84


@pytest.mark.parametrize(
    ("topic", "payload", "complaint"),
    [
        ("label", b"", "label lacks frame_id, label; it takes frame_id, id, label"),
        ("label", b'{"frame_id": "0123456789abcdef", "label": "x"}', "not remembered"),
        ("label", b'{"frame_id": 5, "label": "x"}', "frame_id must be text"),
        ("label", b'{"frame_id": "a", "label": 1e400}', "must be text"),
        ("label", b'{"frame_id": "a", "label": "\\u0000"}', "control characters"),
        ("command/activate", b'{"version": "../1"}', "there is no head"),
        ("command/activate", b'{"version": 1e999}', "that of a head"),
        ("command/activate", b'{"version": ' + b"9" * 4000 + b"}", "that of a head"),
        ("command/activate", b'{"version": "1", "force": 1}', "true or false"),
        ("command/retrain", b"[" * 4000, "no JSON"),
        ("command/retrain", b"[]", "must be a JSON object"),
        ("command/retrain", b'{"steps": 5}', "does not know 'steps'"),
        ("command/retrain", b"x" * 5000, "may take 4096 bytes"),
        ("command/retrain", b'{"id": {}}', "an id is"),
        ("command/retrain", bytes(range(256)), "no JSON"),
        ("command/cancel", b"{}", "no retraining is running"),
        ("command/rollback", b"", "no head to return to"),
        ("command/reboot", b"", "there is no command 'reboot'"),
        ("command/%00", b"", "there is no command"),
        ("frame", b"", "0 bytes"),
        ("frame/door/7", bytes(range(256)), "not a picture"),
        ("frame/door/7/8", b"", "frames go to"),
        ("frame/door/9", b'{"image": "!"}', "the `image` of the JSON is no base64: it holds '!'"),
        ("frame/door", b'{"photo": "x", "label": "y"}', "the JSON holds no picture"),
        ("frame/a%0ab", b"", "control characters"),
        ("frame/door/%00", b"", "control characters"),
        ("frame/" + "x" * 300, b"", "200 bytes"),
        ("frame/door", b"x" * 2_000_000, "frames.max_bytes"),
    ],
)
def test_what_cannot_be_done_is_answered_and_ends_nothing(
    topic: str, payload: bytes, complaint: str, one_board: tuple[Daemon, Mosquitto]
) -> None:
    daemon, broker = one_board
    refused = daemon.ask("GET", "/v1/status")["mqtt"]["refused"]
    with Listener(broker) as client:
        client.publish(f"{IN}/{topic}", payload)
        answer = client.wait_for(f"{IN}/answer")[0]
    assert complaint in answer["error"]
    assert (answer["ok"], answer["command"]) == (False, topic.split("/")[-1 if "command" in topic else 0])
    assert daemon.ask("GET", "/v1/status")["mqtt"]["refused"] == refused + 1


def test_a_frame_may_come_in_base64_or_in_json(one_board: tuple[Daemon, Mosquitto], jpegs: list[bytes]) -> None:
    daemon, broker = one_board
    encoded = base64.b64encode(jpegs[1])
    said = {"data": f"data:image/jpeg;base64,{encoded.decode()}", "camera": "front door", "label": "flower"}
    labelled = daemon.ask("GET", "/v1/status")["labels"]["flower"]
    with Listener(broker) as client:
        client.publish(f"{IN}/frame/gate/encoded", encoded)
        result = client.wait_for(f"{IN}/result", lambda result: result.get("ref") == "encoded")[0]
        assert (result["camera"], result["label"]) == ("gate", "flower")
        client.publish(f"{IN}/frame", json.dumps(said).encode())
        client.wait_for(f"{IN}/result", lambda result: result["camera"] == "front door")
    until(lambda: daemon.ask("GET", "/v1/status")["labels"]["flower"] == labelled + 1, PATIENCE_S)


def test_what_stands_beside_a_picture_in_json_is_heeded(
    one_board: tuple[Daemon, Mosquitto], jpegs: list[bytes]
) -> None:
    daemon, broker = one_board
    said = {"image": base64.b64encode(jpegs[0]).decode(), "label": "flowers"}
    with Listener(broker) as client:
        client.publish(f"{IN}/frame", json.dumps(said).encode())
        client.wait_for(f"{IN}/answer", lambda answer: "did you mean 'flower'" in answer["error"])
        client.publish(f"{IN}/frame", json.dumps({**said, "new": True, "split": "trian"}).encode())
        client.wait_for(f"{IN}/answer", lambda answer: "split must be" in answer["error"])
        client.publish(f"{IN}/frame", json.dumps({**said, "new": True, "split": "val"}).encode())
        until(lambda: daemon.ask("GET", "/v1/status")["labels"].get("flowers"), PATIENCE_S)
    daemon.ask("DELETE", "/v1/labels/flowers")


@pytest.fixture(scope="module")
def one_board(learnt_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    import shutil

    folder = tmp_path_factory.mktemp("board")
    shutil.copytree(learnt_once, folder / "state")
    with Mosquitto(folder) as broker:
        settings = config(broker, frames={"max_bytes": 1_000_000})
        with Daemon(folder / "state", settings) as daemon:
            retained(broker, f"{IN}/head")
            yield daemon, broker


def test_what_the_broker_kept_is_never_obeyed(state: Path, jpegs: list[bytes], mosquitto: Mosquitto) -> None:
    with Listener(mosquitto, "x") as sender:
        for topic in ("command/retrain", "command/rollback", "label", "frame/door", "frame", "command/" + "x" * 1000):
            sender.publish(f"{IN}/{topic}", jpegs[0], retain=True)
    with Daemon(state, config(mosquitto)) as daemon, Listener(mosquitto) as client:
        until(lambda: daemon.ask("GET", "/v1/status")["mqtt"]["refused"] == 6, PATIENCE_S)
        client.publish(f"{IN}/frame/door", jpegs[1])
        client.wait_for(f"{IN}/result", lambda result: result["label"] == "flower")
        assert counted(daemon)["frames"] == 1
        assert daemon.ask("GET", "/v1/retrain") == {"state": "idle"}
        assert daemon.log.count("retained message") == 1
        assert [topic for topic, _ in client.heard if topic.endswith("/answer")] == []


def test_a_thousand_cameras_and_random_bytes_do_no_harm(state: Path, jpegs: list[bytes], mosquitto: Mosquitto) -> None:
    rng = np.random.default_rng(0)
    with Daemon(state, config(mosquitto)) as daemon, Listener(mosquitto, f"{IN}/camera/#") as client:
        retained(mosquitto, f"{IN}/head")
        for n in range(1000):
            client.publish(f"{IN}/frame/camera-{n}", jpegs[0] if n % 20 == 0 else rng.bytes(50), qos=0)
            client.publish(f"{IN}/command/{rng.bytes(8).hex()}", rng.bytes(50), qos=0)
        total = until(lambda: _all_frames(counted(daemon), 1000), PATIENCE_S)
        assert total["frames"] >= 1
        assert total["frames"] + total["bad_frames"] + total["dropped"] == 1000
        assert len({topic for topic, _ in client.heard}) <= 64


def _all_frames(counts: dict[str, int], expected: int) -> dict[str, int] | None:
    return counts if sum(counts.values()) == expected else None


def test_a_cameras_state_follows_when_enough_frames_agree(
    state: Path, jpegs: list[bytes], mosquitto: Mosquitto
) -> None:
    settings = config(mosquitto, debounce={"agree": 2, "of": 3})
    with Daemon(state, settings) as daemon:
        with Listener(mosquitto) as client:
            for picture in (0, 0, 1, 0, 1, 1):
                daemon.ask("POST", "/v1/frames?camera=a%2Fb", jpegs[picture])  # whoever brought the frame
            client.wait_for(f"{IN}/camera/a%2Fb/state", count=3)
            states = [said["state"] for said in client.wait_for(f"{IN}/camera/a%2Fb/state")]
            assert states == ["unknown", "china", "flower"]
        said = retained(mosquitto, f"{IN}/camera/a%2Fb/state")
        assert (said["camera"], said["state"], said["agree"], said["of"]) == ("a/b", "flower", 2, 3)


def test_a_views_state_is_below_its_task_and_lasts_until_the_configuration_names_it_no_more(
    state: Path, jpegs: list[bytes], mosquitto: Mosquitto
) -> None:
    shutil.copytree(state, state / "tasks" / "gate")
    yard, street = {"camera": "yard"}, {"camera": "yard", "name": "the street"}

    def tasks(*views: dict[str, str]) -> dict[str, Any]:
        return config(mosquitto, debounce={"agree": 1, "of": 1}, tasks={"gate": {"views": list(views)}})

    with Daemon(state, tasks(yard, street)) as daemon, Listener(mosquitto) as client:
        assert client.wait_for(f"{IN}/task/gate/head")[0]["task"] == "gate"
        daemon.ask("POST", "/v1/frames?camera=yard", jpegs[0])
        results = client.wait_for(f"{IN}/result", count=2)
        assert {(said["task"], said["view"], said["seq"]) for said in results} == {
            ("gate", "yard", 1),
            ("gate", "the street", 2),
        }
        said = client.wait_for(f"{IN}/task/gate/the street/state")[0]
        assert (said["task"], said["view"], said["state"], said["last_known"]) == (
            "gate",
            "the street",
            "china",
            "china",
        )
        assert said["since_ms"] == results[1]["received_ms"] and said["probability"] == results[1]["probability"]
    with Daemon(state, tasks(yard)) as daemon, Listener(mosquitto) as client:
        kept = client.wait_for(f"{IN}/task/gate/yard/state")[-1]
        assert kept["since_ms"] == said["since_ms"], "a restart changes nothing"
        until(lambda: daemon.ask("GET", "/v1/status")["mqtt"]["connected"], PATIENCE_S)
    with Listener(mosquitto) as late:
        late.publish(f"{IN}/the end")
        late.wait_for(f"{IN}/the end")
        states = {topic for topic, _ in late.heard if topic.endswith("/state")}
        assert states == {f"{IN}/task/gate/yard/state"}


def test_health_and_counters_are_reported_every_window(state: Path, jpegs: list[bytes], mosquitto: Mosquitto) -> None:
    with Daemon(state, config(mosquitto)) as daemon, Listener(mosquitto) as client:
        daemon.ask("POST", "/v1/frames", jpegs[0])
        host = client.wait_for(f"{IN}/host", count=2)[-1]
        assert host["rss_bytes"] > 10_000_000
        assert 0 <= host["cpu_percent"] <= 100 * (os.cpu_count() or 1)
        assert host["memory_free_bytes"] <= host["memory_total_bytes"]
        counters = client.wait_for(f"{IN}/counters", lambda said: said["frames"] == 1)[0]
        assert (counters["examples"], counters["dropped"], counters["refused"]) == (80, 0, 0)


def test_reports_survive_the_broker_and_a_kill(state: Path, jpegs: list[bytes], mosquitto: Mosquitto) -> None:
    mosquitto.stop()
    seen = 0
    for life in range(3):  # two are killed, the last one ends in order
        with Daemon(state, config(mosquitto)) as daemon:
            for _ in range(40):
                daemon.ask("POST", "/v1/frames?camera=door", jpegs[0])
                seen += 1
            assert daemon.ask("GET", "/v1/status")["mqtt"]["waiting"] >= seen
            if life < 2:
                daemon.kill()
    mosquitto.start()
    with Listener(mosquitto) as client, Daemon(state, config(mosquitto)) as daemon:
        daemon.ask("POST", "/v1/frames?camera=door", jpegs[0])
        client.wait_for(f"{IN}/result", lambda result: result["seq"] == seen + 1)
        results = client.wait_for(f"{IN}/result")
        assert [result["seq"] for result in results] == list(range(1, seen + 2))
        stamps = [result["ts"] for result in results]
        assert stamps == sorted(stamps)
        for phase in ("decode", "session_run"):
            reports = client.wait_for(f"{IN}/timing/{phase}")
            assert [report["seq"] for report in reports] == list(range(1, len(reports) + 1))
        until(lambda: daemon.ask("GET", "/v1/status")["mqtt"]["waiting"] == 0, PATIENCE_S)
        assert daemon.ask("GET", "/v1/status")["mqtt"]["dropped"] == 0


def test_home_assistant_is_told_when_it_comes_online(state: Path, jpegs: list[bytes], mosquitto: Mosquitto) -> None:
    topic = "homeassistant/device/lastlayer_board/config"
    with Daemon(state, config(mosquitto)) as daemon, Listener(mosquitto, "homeassistant/#") as client:
        first = client.wait_for(topic)[0]
        assert first["origin"]["name"] == "lastlayer"
        daemon.ask("POST", "/v1/frames?camera=door", jpegs[0])
        known = client.wait_for(topic, lambda said: {"camera_door", "phase_decode"} <= said["components"].keys())
        client.publish("homeassistant/status", b"online")
        until(lambda: len(client.wait_for(topic, lambda said: said == known[-1])) > len(known), PATIENCE_S)
        mosquitto.kill()
        mosquitto.start()
        assert retained(mosquitto, topic, PATIENCE_S)["components"].keys() >= {"camera_door"}


def test_a_camera_stays_announced_over_a_restart_until_it_is_forgotten(
    state: Path, jpegs: list[bytes], mosquitto: Mosquitto
) -> None:
    topic, seen = "homeassistant/device/lastlayer_board/config", f"{IN}/camera/front door/state"

    def cameras(announced: dict[str, Any]) -> list[str]:
        return [key for key in announced["components"] if key.startswith("camera_")]

    with Daemon(state, config(mosquitto)) as daemon:
        daemon.ask("POST", "/v1/frames?camera=front%20door", jpegs[0])
        assert retained(mosquitto, seen)["state"] == "unknown"
    mosquitto.kill()
    mosquitto.start()  # which has forgotten everything
    with Daemon(state, config(mosquitto)), Listener(mosquitto, "#") as client:
        assert cameras(client.wait_for(topic)[0]) == cameras(client.wait_for(topic)[-1]) != []
        client.publish(seen, b"{}", retain=True)
        for wrong in ("", 7, None):
            client.publish(f"{IN}/command/forget", {"camera": wrong})
        assert not any(said["ok"] for said in client.wait_for(f"{IN}/answer", count=3))
        client.publish(f"{IN}/command/forget", {"camera": "front door", "id": 1})
        assert client.wait_for(f"{IN}/answer", lambda said: said["ok"])[0]["camera"] == "front door"
        client.wait_for(topic, lambda said: not cameras(said))
        with Listener(mosquitto, f"{IN}/#") as late:
            late.publish(f"{IN}/the end")
            late.wait_for(f"{IN}/the end")
            assert seen not in [at for at, _ in late.heard]


def test_without_discovery_nothing_is_said_to_home_assistant(state: Path, mosquitto: Mosquitto) -> None:
    settings = config(mosquitto)
    settings["mqtt"]["discovery"] = False
    with Listener(mosquitto, "#") as client, Daemon(state, settings):
        client.wait_for(f"{IN}/host")
        assert [topic for topic, _ in client.heard if not topic.startswith("lastlayer/")] == []


@pytest.mark.parametrize(
    "settings",
    [["max_packet_size 4000"], ["retain_available false", "max_qos 0", "max_inflight_messages 2"]],
    ids=["4000 bytes", "no retain, no acknowledgement"],
)
def test_a_broker_that_takes_less_than_others_has_all_that_it_takes(
    settings: list[str], state: Path, jpegs: list[bytes], tmp_path: Path
) -> None:
    with (
        Mosquitto(tmp_path, settings=settings) as broker,
        Listener(broker, "#") as client,
        Daemon(state, config(broker)) as daemon,
    ):
        client.wait_for(f"{IN}/availability", lambda said: said == "online")
        for name in range(3):
            daemon.ask("POST", f"/v1/frames?camera=door-{name}", jpegs[0])
        assert [result["label"] for result in client.wait_for(f"{IN}/result", count=3)] == ["china"] * 3
        for topic in ("timing/bottleneck", "host", "counters", "head", "camera/door-0/state"):
            client.wait_for(f"{IN}/{topic}")
        client.wait_for("homeassistant/#")
        status = daemon.ask("GET", "/v1/status")["mqtt"]
        assert (status["connected"], status["dropped"]) == (True, 0)
        assert (status["too_large"] > 0) == (settings == ["max_packet_size 4000"])
        assert broker.log.count("as lastlayer-board (") == 1
        assert daemon.log.count("allows 4000 (max_packet_size in mosquitto)") == ("4000" in settings[0])
