"""The real daemon, a real broker, real photographs: from a frame to a new head in service."""

import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from agent.board.systemd import Notifier
from agent.config import Config, HttpConfig, ReportConfig
from agent.daemon import running
from agent.service.heads import Heads
from agent.service.seeing import Seeing
from tests.conftest import crops, encoded
from tests.daemon import PATIENCE_S, Daemon, lastlayer
from tests.mosquitto import Listener, Mosquitto
from tests.waiting import until


def best(result: dict[str, Any]) -> str | None:
    return result["predictions"][0]["label"] if result["predictions"] else None


def reporting_to(broker: Mosquitto, **more: Any) -> dict[str, Any]:
    return {"mqtt": {"host": broker.host, "port": broker.port, "node": "board", **more}}


def test_the_whole_story(tmp_path: Path, photographs: list[np.ndarray], mosquitto: Mosquitto) -> None:
    pictures = {
        label: crops(photograph, 24, seed=1) for label, photograph in zip(("china", "flower"), photographs, strict=True)
    }
    with Listener(mosquitto) as listener, Daemon(tmp_path / "state", reporting_to(mosquitto)) as daemon:
        listener.wait_for("lastlayer/board/availability", lambda payload: payload == "online")

        before = daemon.ask("POST", "/v1/frames?camera=door", pictures["china"][0])
        assert (before["predictions"], before["unknown"], before["head"]) == ([], True, None)
        assert set(before["timings_ms"]) == {"decode", "bottleneck", "session_run", "result_processing"}

        for label, payloads in pictures.items():
            for payload in payloads[1:16]:  # labelled as they come
                daemon.ask("POST", f"/v1/frames?label={label}", payload)
            for payload in payloads[16:20]:  # labelled later, without sending the picture again
                frame_id = daemon.ask("POST", "/v1/frames", payload)["frame_id"]
                assert daemon.ask("POST", f"/v1/frames/{frame_id}/label", {"label": label})["label"] == label
        status = daemon.ask("GET", "/v1/status")
        assert status["labels"] == {"china": 19, "flower": 19}
        assert (status["frames"], status["node"], status["mqtt"]["connected"]) == (39, "board", True)
        assert status["cache"]["written_bytes"] > 0

        assert daemon.ask("POST", "/v1/retrain", expect=202)["state"] == "running"
        ended = daemon.wait_retrained()
        assert (ended["state"], ended["head"]) == ("done", "1")

        for label, payloads in pictures.items():
            for payload in payloads[20:]:
                result = daemon.ask("POST", "/v1/frames?top=1", payload)
                assert (best(result), result["head"], result["unknown"]) == (label, "1", False)
        assert daemon.ask("GET", "/v1/heads")["active"] == "1"
        phases = {report["phase"] for report in daemon.ask("GET", "/v1/timings")["phases"]}
        expected = {
            "decode",
            "bottleneck",
            "session_run",
            "result_processing",
            "cache_append",
            "activate",
            "file_access",
        }
        assert expected <= phases

        head = listener.wait_for("lastlayer/board/head")[0]
        assert (head["version"], head["labels"]) == ("1", ["china", "flower"])
        listener.wait_for("lastlayer/board/retrain", lambda payload: payload["state"] == "done")
        result = listener.wait_for("lastlayer/board/result", lambda payload: payload["head"] == "1")[0]
        assert result["label"] in pictures
        for phase in expected:
            report = listener.wait_for(f"lastlayer/board/timing/{phase}")[0]
            assert report["count"] >= 1
            assert report["node"] == "board"
    with Listener(mosquitto) as listener:
        listener.wait_for("lastlayer/board/availability", lambda payload: payload == "offline")


def test_what_was_learnt_survives_a_restart(state: Path, photographs: list[np.ndarray]) -> None:
    (payload,) = crops(photographs[0], 1, seed=5)
    with Daemon(state) as daemon:
        daemon.ask("POST", "/v1/frames?label=china", payload)
        daemon.kill()  # as a power cut would
    with Daemon(state) as daemon:
        status = daemon.ask("GET", "/v1/status")
        assert (status["examples"], status["head"]) == (81, "1")
        assert best(daemon.ask("POST", "/v1/frames", payload)) == "china"


def test_no_frame_is_lost_while_a_head_is_replaced(state: Path, photographs: list[np.ndarray]) -> None:
    (payload,) = crops(photographs[1], 1, seed=6)
    with Daemon(state) as daemon:
        stop, heads = threading.Event(), set()

        def push() -> int:
            pushed = 0
            while not stop.is_set():
                result = daemon.ask("POST", "/v1/frames", payload)
                assert best(result) == "flower"
                heads.add(result["head"])
                pushed += 1
            return pushed

        with ThreadPoolExecutor(3) as pool:
            pushers = [pool.submit(push) for _ in range(3)]
            try:
                for version in ("2", "3"):
                    daemon.ask("POST", "/v1/retrain", expect=202)
                    assert daemon.wait_retrained()["head"] == version
                    until(partial(heads.__contains__, version), PATIENCE_S)
            finally:
                stop.set()
            pushed = sum(pusher.result() for pusher in pushers)
        assert heads >= {"2", "3"}
        assert daemon.ask("GET", "/v1/status")["frames"] == pushed


def test_a_head_that_a_person_makes_is_in_service_without_a_restart(state: Path) -> None:
    with Daemon(state) as daemon:
        lastlayer("--state", state, "retrain", "--solver", "sgd", "--steps", "200")
        until(lambda: daemon.ask("GET", "/v1/status")["head"] == "2", PATIENCE_S)
        lastlayer("--state", state, "heads", "activate", "1")
        until(lambda: daemon.ask("GET", "/v1/status")["head"] == "1", PATIENCE_S)
        daemon.ask("POST", "/v1/heads/2/activate")
        assert json.loads(lastlayer("--state", state, "heads", "--json").stdout)["active"] == "2"


def test_it_retrains_by_itself_after_so_many_examples(state: Path, photographs: list[np.ndarray]) -> None:
    with Daemon(state, {"retrain": {"auto_after": 3}}) as daemon:
        for payload in crops(photographs[0], 3, seed=7):
            assert daemon.ask("GET", "/v1/retrain") == {"state": "idle"}
            daemon.ask("POST", "/v1/frames?label=china", payload)
        until(lambda: daemon.ask("GET", "/v1/status")["head"] == "2", PATIENCE_S)
        assert daemon.ask("GET", "/v1/status")["examples"] == 83


def test_a_label_said_again_wears_no_flash_and_sets_off_no_retraining(state: Path, jpegs: list[bytes]) -> None:
    with Daemon(state, {"retrain": {"auto_after": 2}}) as daemon:
        frame_id = daemon.ask("POST", "/v1/frames?label=china", jpegs[0])["frame_id"]
        before = daemon.ask("GET", "/v1/status")["cache"]["written_bytes"]
        for _ in range(3):  # as a client does that did not hear the answer
            answer = daemon.ask("POST", f"/v1/frames/{frame_id}/label", {"label": "china"})
            assert answer == {"frame_id": frame_id, "label": "china"}
        assert daemon.ask("GET", "/v1/status")["cache"]["written_bytes"] == before
        assert daemon.ask("GET", "/v1/retrain") == {"state": "idle"}
        daemon.ask("POST", f"/v1/frames/{frame_id}/label", {"label": "flower"})
        assert daemon.wait_retrained()["state"] == "done"


def test_sigterm_ends_it_within_five_seconds_with_a_retraining_under_way(state: Path, jpegs: list[bytes]) -> None:
    with Daemon(state, {"retrain": {"solver": "adam", "steps": 10_000_000}}) as daemon:
        daemon.ask("POST", "/v1/retrain", expect=202)
        daemon.ask("POST", "/v1/frames", jpegs[0])
        began = time.monotonic()
        assert daemon.stop(PATIENCE_S) == 0
        assert time.monotonic() - began < 5
        assert lastlayer("--state", state, "heads", "--json").stdout.count('"version"') == 1


def test_it_starts_before_the_broker_and_finds_it_later(state: Path, mosquitto: Mosquitto) -> None:
    mosquitto.stop()
    with Daemon(state, reporting_to(mosquitto)) as daemon:
        assert daemon.ask("GET", "/v1/status")["mqtt"]["connected"] is False
        mosquitto.start()
        for _ in range(2):
            with Listener(mosquitto) as listener:
                listener.wait_for("lastlayer/board/availability", lambda payload: payload == "online")
                assert listener.wait_for("lastlayer/board/head")[0]["version"] == "1"
            mosquitto.stop()
            mosquitto.start()


def test_the_broker_says_offline_when_the_daemon_is_killed(state: Path, mosquitto: Mosquitto) -> None:
    with Listener(mosquitto) as listener, Daemon(state, reporting_to(mosquitto)) as daemon:
        listener.wait_for("lastlayer/board/availability", lambda payload: payload == "online")
        daemon.kill()
        listener.wait_for("lastlayer/board/availability", lambda payload: payload == "offline")
        said = [payload for topic, payload in listener.heard if topic == "lastlayer/board/availability"]
        assert said == ["online", "offline"]


def test_a_refused_password_is_told_and_seeing_goes_on(state: Path, tmp_path: Path, jpegs: list[bytes]) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    (tmp_path / "password").write_text("wrong\n")
    login = {"username": "board", "password_file": str(tmp_path / "password")}
    with Mosquitto(folder, {"board": "right"}) as broker, Daemon(state, reporting_to(broker, **login)) as daemon:
        said = until(lambda: daemon.ask("GET", "/v1/status")["mqtt"]["last_error"], PATIENCE_S)
        assert "mqtt.password_file" in said
        assert daemon.ask("POST", "/v1/frames", jpegs[0])["predictions"]
        assert daemon.log.count("refused the connection") == 1


def test_bad_frames_are_refused_and_counted(state: Path, jpegs: list[bytes], photographs: list[np.ndarray]) -> None:
    huge = encoded(np.zeros((13_000, 13_000), np.uint8), "JPEG", quality=5)
    with Daemon(state, {"frames": {"max_bytes": 4_000_000}}) as daemon:
        for payload, complaint in [
            (b"", "0 bytes"),
            (b"hello", "not a picture"),
            (jpegs[0][: len(jpegs[0]) // 2], "torn"),
            (huge, "13000 x 13000"),
        ]:
            assert complaint in daemon.ask("POST", "/v1/frames", payload, expect=400)["error"]
        assert "frames.max_bytes" in daemon.ask("POST", "/v1/frames", bytes(4_000_001), expect=413)["error"]
        for query, complaint in [
            ("label=", "must not be empty"),
            ("label=" + "x" * 10_000, "200 bytes"),
            ("label=a%0ab", "control"),
            ("camera=a%00b", "control"),
            ("top=0", "1 to 1000"),
            ("top=many", "1 to 1000"),
            ("lable=glass", "unknown parameter 'lable'"),
        ]:
            assert complaint in daemon.ask("POST", f"/v1/frames?{query}", jpegs[0], expect=400)["error"]
        status = daemon.ask("GET", "/v1/status")
        assert (status["bad_frames"], status["examples"]) == (4, 80)
        assert status["sources"]["http"]["bad_frames"] == 4
        assert daemon.ask("POST", "/v1/frames", jpegs[0])["predictions"]


@pytest.mark.parametrize(
    ("body", "status", "complaint"),
    [
        (b"", 400, "no JSON"),
        (b"[" * 100_000, 400, "no JSON"),
        (b"[]", 400, "nothing else"),
        (b'{"label": "a", "more": 1}', 400, "nothing else"),
        (b'{"label": 5}', 400, "must be text"),
        (b'{"label": " "}', 400, "must not be empty"),
        (b'{"label": "\\u0000"}', 400, "control"),
        (b'{"label": "\\ud800"}', 400, "control"),
        (b'{"label": "glass"}', 404, "not remembered"),
    ],
)
def test_bad_labels_are_refused(one_daemon: Daemon, body: bytes, status: int, complaint: str) -> None:
    assert complaint in one_daemon.ask("POST", "/v1/frames/0123456789abcdef/label", body, expect=status)["error"]


@pytest.fixture(scope="module")
def one_daemon(learnt_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    import shutil

    copy = tmp_path_factory.mktemp("daemon") / "state"
    shutil.copytree(learnt_once, copy)
    with Daemon(copy) as daemon:
        yield daemon


def test_pictures_in_a_watched_folder_are_seen_and_put_away(state: Path, tmp_path: Path, jpegs: list[bytes]) -> None:
    folder = tmp_path / "frames"
    (folder / "door").mkdir(parents=True)
    (folder / "first.jpg").write_bytes(jpegs[0])  # before the start
    watched = {"path": str(folder), "camera": "yard", "settle_s": 1}
    with Daemon(state, {"folder": watched, "frames": {"max_bytes": 500_000}}) as daemon:
        for name, payload in [("a.jpg", jpegs[1]), ("torn.jpg", jpegs[1][:5000]), ("large.jpg", bytes(500_001))]:
            (tmp_path / name).write_bytes(payload)
            (tmp_path / name).rename(folder / "door" / name)
        until(lambda: len(list(folder.glob("done/**/*.jpg"))) == 2, PATIENCE_S)
        until(lambda: len(list(folder.glob("bad/door/*.jpg"))) == 2, PATIENCE_S)
        assert daemon.ask("GET", "/v1/status")["sources"] == {"folder": {"frames": 2, "bad_frames": 2, "dropped": 0}}
        seen = {result["camera"]: best(result) for result in daemon.ask("GET", "/v1/frames")["frames"]}
        assert seen == {"yard": "china", "door": "flower"}
        assert "file_access" in {phase["phase"] for phase in daemon.ask("GET", "/v1/timings")["phases"]}
    assert [path.name for path in folder.rglob("*.jpg") if path.parent == folder] == []


def test_a_frame_that_is_gone_can_no_longer_be_labelled(state: Path, jpegs: list[bytes]) -> None:
    with Daemon(state, {"frames": {"remember": 2}}) as daemon:
        payloads = [*jpegs, jpegs[0] + b"\0"]  # the same bytes would be the same frame
        first, *_, last = [daemon.ask("POST", "/v1/frames", payload)["frame_id"] for payload in payloads]
        assert len(daemon.ask("GET", "/v1/frames")["frames"]) == 2
        assert "too many came since" in daemon.ask("POST", f"/v1/frames/{first}/label", {"label": "x"}, 404)["error"]
        daemon.ask("POST", f"/v1/frames/{last}/label", {"label": "x"})
        daemon.ask("POST", f"/v1/frames/{last}/label", {"label": "y"})  # changed one's mind
        assert daemon.ask("GET", "/v1/status")["labels"] == {"china": 40, "flower": 40, "y": 1}


def test_retraining_without_enough_is_refused(tmp_path: Path, jpegs: list[bytes]) -> None:
    with Daemon(tmp_path / "state") as daemon:
        assert "two labels" in daemon.ask("POST", "/v1/retrain", expect=409)["error"]
        daemon.ask("POST", "/v1/frames?label=only", jpegs[0])
        assert "two labels" in daemon.ask("POST", "/v1/retrain", expect=409)["error"]
        assert daemon.ask("GET", "/v1/retrain") == {"state": "idle"}


def test_a_second_retraining_is_refused_while_one_runs(state: Path) -> None:
    with Daemon(state, {"retrain": {"solver": "adam", "steps": 10_000_000}}) as daemon:
        daemon.ask("POST", "/v1/retrain", expect=202)
        assert "running already" in daemon.ask("POST", "/v1/retrain", expect=409)["error"]


def test_a_retraining_that_is_killed_says_so_and_the_head_stays(state: Path, jpegs: list[bytes]) -> None:
    with Daemon(state, {"retrain": {"solver": "adam", "steps": 10_000_000}}) as daemon:
        daemon.ask("POST", "/v1/retrain", expect=202)
        for child in psutil.Process(daemon.process.pid).children():
            child.send_signal(signal.SIGKILL)
        ended = daemon.wait_retrained()
        assert (ended["state"], ended["error"]) == ("failed", "it ended with -9")
        assert daemon.ask("POST", "/v1/frames", jpegs[0])["head"] == "1"


def test_unknown_paths_methods_and_heads_are_refused(one_daemon: Daemon) -> None:
    assert "/v1/nothing" in one_daemon.ask("GET", "/v1/nothing", expect=404)["error"]
    assert "takes POST or GET" in one_daemon.ask("DELETE", "/v1/frames", expect=405)["error"]
    for version in ("7", "..", "%2e%2e", "active"):
        assert "there is no head" in one_daemon.ask("POST", f"/v1/heads/{version}/activate", expect=404)["error"]
    assert one_daemon.ask("GET", "/healthz") == {"status": "ok"}


def test_a_damaged_head_is_not_put_into_service(state: Path, jpegs: list[bytes]) -> None:
    lastlayer("--state", state, "retrain", "--solver", "sgd", "--steps", "100")
    path = state / "heads" / "2" / "head.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with Daemon(state) as daemon:
        status = daemon.ask("GET", "/v1/status")
        assert status["head"] is None
        assert "damaged" in status["head_error"]
        assert daemon.ask("POST", "/v1/frames", jpegs[0])["unknown"] is True
        assert "damaged" in daemon.ask("POST", "/v1/heads/2/activate", expect=409)["error"]
        daemon.ask("POST", "/v1/heads/1/activate")
        assert daemon.ask("POST", "/v1/frames", jpegs[0])["head"] == "1"


class Systemd(Notifier):
    """In the place of systemd: counts how often its watchdog is fed."""

    fed = 0

    def alive(self, status: str) -> None:
        self.fed += 1


IN_THIS_PROCESS = Config(http=HttpConfig(port=0), report=ReportConfig(window_s=0.05))


def test_a_figure_that_psutil_refuses_does_not_end_the_service(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, asked = threading.Event(), []

    def refuse() -> None:
        asked.append(True)
        if len(asked) > 4:
            stop.set()
        raise psutil.AccessDenied(msg="the sandbox forbids it")

    with running(IN_THIS_PROCESS, state) as daemon:
        monkeypatch.setattr(psutil, "virtual_memory", refuse)
        daemon.watch(stop)
        assert daemon.host.figures()["memory_total_bytes"] is None
    assert len(asked) > 4


def test_what_fails_in_its_loop_is_said_once_and_the_watchdog_is_fed_on(
    state: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stop, systemd = threading.Event(), Systemd("@nobody", watchdog_s=0.001)

    def fail(heads: Heads) -> None:
        if systemd.fed > 2:
            stop.set()
        raise ValueError("what nobody thought of")

    with running(IN_THIS_PROCESS, state, notifier=systemd) as daemon:
        monkeypatch.setattr(Heads, "follow_store", fail)
        daemon.watch(stop)
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert said == ["following the head store: ValueError: what nobody thought of"]


def test_the_watchdog_is_not_fed_where_nobody_can_say_whether_frames_are_classified(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, systemd, asked = threading.Event(), Systemd("@nobody", watchdog_s=0.001), []

    def fail(seeing: Seeing) -> None:
        asked.append(True)
        if len(asked) > 2:
            stop.set()
        raise ValueError("what nobody thought of")

    with running(IN_THIS_PROCESS, state, notifier=systemd) as daemon:
        monkeypatch.setattr(Seeing, "trouble", fail)
        daemon.watch(stop)
    assert (systemd.fed, len(asked)) == (0, 3)
