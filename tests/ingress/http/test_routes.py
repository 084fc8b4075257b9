"""The HTTP face of a real daemon."""

import base64
import http.client
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from agent.cache import Cache
from agent.ingress.http.message import Reply, Request
from agent.ingress.http.routes import Api
from agent.records import SPLITS, picture_id
from agent.reporting.feed import Feed
from agent.reporting.prometheus import OPENMETRICS
from agent.vision.bundle import DEFAULT
from tests.conftest import crops
from tests.daemon import PATIENCE_S, Daemon, lastlayer
from tests.ingress.http.serving import connect_unix, exchange

TOKEN = "0123456789abcdef0123456789abcdef"


class Answer(NamedTuple):
    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(daemon: Daemon, method: str, path: str, body: bytes = b"", host: str = "127.0.0.1", **headers: str) -> Answer:
    connection = http.client.HTTPConnection(host, daemon.port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def state_of_module(learnt_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(learnt_once, tmp_path_factory.mktemp("http") / "state"))


@pytest.fixture(scope="module")
def daemon(state_of_module: Path) -> Iterator[Daemon]:
    socket_file = state_of_module.parent / "http.sock"
    with Daemon(state_of_module, {"http": {"socket": str(socket_file)}}) as daemon:
        yield daemon
    assert not socket_file.exists()


def test_frames_come_in_by_the_unix_socket(daemon: Daemon, state_of_module: Path, jpegs: list[bytes]) -> None:
    heading = b"POST /v1/frames?camera=door HTTP/1.1\r\nHost: lastlayer\r\nContent-Length: %d\r\n\r\n" % len(jpegs[0])
    answer = exchange(connect_unix(state_of_module.parent / "http.sock"), heading + jpegs[0])
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["predictions"][0]["label"] == "china"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed (apt-get install curl)")
def test_curl_sends_a_form(daemon: Daemon, jpegs: list[bytes], tmp_path: Path) -> None:
    file = tmp_path / "Küche;a.jpg"
    file.write_bytes(jpegs[1])
    form = ["-F", f'image=@"{file}"', "-F", "camera=porch", "-F", "top=1"]
    said = subprocess.run(["curl", "-sS", *form, f"{daemon.url}/v1/frames"], check=True, capture_output=True)
    result = json.loads(said.stdout)
    assert (result["camera"], [p["label"] for p in result["predictions"]]) == ("porch", ["flower"])
    twice = subprocess.run(
        ["curl", "-sS", *form, *form[:2], f"{daemon.url}/v1/frames"], check=True, capture_output=True
    )
    assert "2 pictures" in json.loads(twice.stdout)["error"]


def test_a_label_may_come_with_the_split_of_its_example(state: Path, photographs: list[np.ndarray]) -> None:
    with Daemon(state) as daemon:
        frames = {
            daemon.ask("POST", f"/v1/frames?label=cup&split={split}", payload)["frame_id"]: split
            for split, payload in zip(SPLITS, crops(photographs[0], 3, seed=12), strict=True)
        }
        for query in ("label=cup&split=trian", "label=cup&split=", "split=val"):
            assert "split must be" in daemon.ask("POST", f"/v1/frames?{query}", b"x", 400)["error"]
    with Cache.read(state / "cache") as cache:
        examples = cache.examples()
    ids = {f"{number:016x}": row for row, number in enumerate(examples.frame_ids.tolist())}
    assert {frame: SPLITS[int(examples.splits[ids[frame]])] for frame in frames} == frames


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed (apt-get install curl)")
def test_a_picture_comes_as_its_sender_writes_it(daemon: Daemon, jpegs: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpegs[1])
    encoded = base64.b64encode(jpegs[1])
    (tmp_path / "a.b64").write_bytes(base64.encodebytes(jpegs[1]))
    said = {"data": f"data:image/jpeg;base64,{encoded.decode()}", "camera": "front door", "detector_name": "default"}
    (tmp_path / "a.json").write_text(json.dumps(said))
    for words in (
        ["-F", "imageFile=@a.jpg", "-F", "time=12:30", "-F", "camera=front door"],
        ["-F", "photo=@a.jpg;type=image/jpg", "-F", "camera=front door"],
        ["-F", "picture=<a.b64", "-F", "camera=front door"],
        ["--data-binary", "@a.json"],
        ["--data-binary", "@a.json", "-H", "Content-Type: application/json"],
        ["--data-urlencode", "image@a.b64", "-d", "camera=front+door"],
        ["--data-binary", "@a.jpg", "-H", "Content-Type: text/plain", "--url-query", "camera=front door"],
        ["--data-binary", "@a.b64", "-H", "Content-Type:", "--url-query", "camera=front door"],
    ):
        command = ["curl", "-sS", *words, f"{daemon.url}/v1/frames"]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True, cwd=tmp_path).stdout)
        assert answer.get("camera") == "front door", (words, answer)
        assert answer["predictions"][0]["label"] == "flower"


def test_a_packed_picture_is_held_to_the_limit_of_all(state: Path, jpegs: list[bytes]) -> None:
    with Daemon(state, {"frames": {"max_bytes": len(jpegs[0])}}) as daemon:
        for more, status in ((0, 200), (1, 400), (len(jpegs[0]), 413)):
            packed = json.dumps({"image": base64.b64encode(jpegs[0] + bytes(more)).decode()}).encode()
            answer = ask(daemon, "POST", "/v1/frames", packed, Content_Type="application/json")
            assert (answer.status, b"frames.max_bytes" in answer.body) == (status, status != 200)
        assert daemon.ask("GET", "/v1/status")["bad_frames"] == 1


def test_examples_are_forgotten_and_labels_renamed_and_deleted(daemon: Daemon, photographs: list[np.ndarray]) -> None:
    payloads = crops(photographs[0], 3, seed=11)
    first, *_ = [daemon.ask("POST", "/v1/frames?label=a%2Fb", payload)["frame_id"] for payload in payloads]
    assert daemon.ask("DELETE", f"/v1/frames/{first}") == {"frame_id": first, "examples_deleted": 1}
    assert "is not known" in daemon.ask("DELETE", f"/v1/frames/{first}", expect=404)["error"]
    daemon.ask("POST", f"/v1/frames/{first}/label", {"label": "x"}, 404)
    assert first not in [frame["frame_id"] for frame in daemon.ask("GET", "/v1/frames")["frames"]]
    unlabelled = daemon.ask("POST", "/v1/frames", payloads[0])["frame_id"]
    assert daemon.ask("DELETE", f"/v1/frames/{unlabelled}")["examples_deleted"] == 0

    renamed = daemon.ask("POST", "/v1/labels/a%2Fb/rename", {"to": "  Gläser "})
    assert renamed == {"label": "Gläser", "examples_renamed": 2}
    assert daemon.ask("GET", "/v1/status")["labels"] == {"china": 40, "flower": 40, "Gläser": 2}
    assert daemon.ask("DELETE", "/v1/labels/Gl%C3%A4ser") == {"label": "Gläser", "examples_deleted": 2}
    assert "there are: china, flower" in daemon.ask("DELETE", "/v1/labels/Gl%C3%A4ser", expect=404)["error"]
    assert "not UTF-8" in daemon.ask("DELETE", "/v1/labels/%ff", expect=400)["error"]
    assert "must not be empty" in daemon.ask("POST", "/v1/labels/china/rename", {"to": " "}, 400)["error"]


def test_the_same_bytes_are_one_example_whoever_sends_them(daemon: Daemon, photographs: list[np.ndarray]) -> None:
    (payload,) = crops(photographs[1], 1, seed=12)
    sent = [daemon.ask("POST", f"/v1/frames?label={label}&camera=c{n}", payload) for n, label in enumerate("xxy")]
    assert {result["frame_id"] for result in sent} == {picture_id(payload)}
    assert daemon.ask("GET", "/v1/status")["labels"] == {"china": 40, "flower": 40, "y": 1}
    assert daemon.ask("DELETE", f"/v1/frames/{picture_id(payload)}")["examples_deleted"] == 1


def test_a_label_that_may_be_a_slip_is_asked_about(daemon: Daemon, photographs: list[np.ndarray]) -> None:
    (payload,) = crops(photographs[0], 1, seed=13)
    seen = daemon.ask("GET", "/v1/status")["frames"]
    for slip in ("chima", "China", "ch%20ina", "c%D2%BBina"):
        assert "did you mean 'china'?" in daemon.ask("POST", f"/v1/frames?label={slip}", payload, 409)["error"]
    assert daemon.ask("GET", "/v1/status")["frames"] == seen, "nothing was looked at"
    frame_id = daemon.ask("POST", "/v1/frames", payload)["frame_id"]
    assert "?new=1" in daemon.ask("POST", f"/v1/frames/{frame_id}/label", {"label": "chima"}, 409)["error"]
    assert "did you mean" in daemon.ask("POST", "/v1/labels/flower/rename", {"to": "chima"}, 409)["error"]
    assert daemon.ask("POST", f"/v1/frames/{frame_id}/label", {"label": "chi\u200bna"})["label"] == "china"
    assert daemon.ask("POST", f"/v1/frames/{frame_id}/label?new=1", {"label": "chima"})["label"] == "chima"
    assert daemon.ask("POST", "/v1/frames?label=chima", payload)["frame_id"] == frame_id
    assert "new must be 0 or 1" in daemon.ask("POST", "/v1/frames?label=chima&new=yes", payload, 400)["error"]
    assert daemon.ask("DELETE", "/v1/labels/chima")["examples_deleted"] == 1


def test_a_browser_on_another_site_is_refused_and_no_other_is_invited(daemon: Daemon) -> None:
    refused = ask(daemon, "POST", "/v1/retrain", Origin="http://evil.example")
    assert (refused.status, "another site" in refused.json["error"]) == (403, True)
    assert ask(daemon, "GET", "/v1/status", Host="evil.example").status == 403
    served = ask(daemon, "GET", "/v1/status", Origin=f"http://127.0.0.1:{daemon.port}")
    assert served.status == 200
    assert [name for name in served.headers if name.lower().startswith("access-control")] == []
    assert ask(daemon, "OPTIONS", "/v1/frames", Access_Control_Request_Method="POST").status == 405


@pytest.mark.parametrize(
    "path", ["/v1/../../etc/passwd", "/../agent/ingress/openapi.json", "//etc/passwd", "/v1/heads/."]
)
def test_nothing_of_a_request_is_a_path(daemon: Daemon, path: str) -> None:
    for spelt in (path, path.replace(".", "%2e"), path.replace("/", "%2f").replace("%2f", "/", 1)):
        assert ask(daemon, "GET", spelt).status == 404
    assert ask(daemon, "GET", "/v1/heads/" + "1" * 5000).status == 404


def test_metrics_are_what_prometheus_reads(daemon: Daemon, jpegs: list[bytes]) -> None:
    daemon.ask("POST", "/v1/frames?label=china", jpegs[0])
    daemon.ask("POST", "/v1/frames", b"no picture", 400)
    answer = ask(daemon, "GET", "/metrics", Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert (answer.status, answer.headers["Content-Type"]) == (200, OPENMETRICS)
    families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert samples["lastlayer_frames_total", "http"] >= 1
    assert samples["lastlayer_bad_frames_total", "http"] >= 1
    assert samples["lastlayer_phase_seconds_count", "decode"] >= 1
    assert samples["lastlayer_phase_seconds_bucket", "decode", "60"] >= 1
    assert samples["lastlayer_label_examples", "flower"] == 40
    assert samples[("lastlayer_examples",)] >= 81
    assert samples["lastlayer_retrainings_total", "failed"] == 0
    assert samples[("lastlayer_flash_written_bytes_total",)] > 0
    assert 0 < samples[("lastlayer_head_examples",)] <= 80
    assert families["lastlayer_head"].samples[0].labels["version"] == "1"
    assert families["lastlayer_build"].samples[0].labels["backbone"] == DEFAULT
    assert 10e6 < samples[("process_resident_memory_bytes",)] < 1e9


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (apt-get install prometheus)")
def test_promtool_finds_no_fault_with_the_metrics(daemon: Daemon) -> None:
    answer = ask(daemon, "GET", "/metrics")
    checked = subprocess.run(["promtool", "check", "metrics"], input=answer.body, capture_output=True)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_health_is_tried_not_assumed(daemon: Daemon) -> None:
    assert ask(daemon, "GET", "/healthz").json == {"status": "ok"}
    assert ask(daemon, "HEAD", "/healthz")[::2] == (200, b"")


def test_a_daemon_that_cannot_classify_says_so() -> None:
    service = SimpleNamespace(trouble=lambda: "the backbone has been busy for 5 s")
    reply = Api(service, Feed())(Request("GET", "/healthz", {}, b""))  # type: ignore[arg-type]
    assert isinstance(reply, Reply)
    assert (reply.status, b"busy for 5 s" in reply.body()) == (503, True)


class Events:
    """A client of /v1/events."""

    def __init__(self, daemon: Daemon) -> None:
        self._socket = socket.create_connection(("127.0.0.1", daemon.port), timeout=PATIENCE_S)
        self._socket.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self._file = self._socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        while self._file.readline().strip():
            pass

    def next(self, *wanted: str) -> tuple[str, Any]:
        """The next event of those names, and what it carries."""
        event = ""
        for line in self._file:
            name, _, value = line.decode().strip().partition(": ")
            if name == "event":
                event = value
            if name == "data" and event in wanted:
                return event, json.loads(value)
        raise AssertionError("the stream has ended")

    def ended(self) -> bool:
        return self._file.read() is not None

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def test_events_tell_of_frames_labels_retrainings_and_heads(state: Path, jpegs: list[bytes]) -> None:
    with Daemon(state) as daemon:
        events = Events(daemon)
        assert events.next("status")[1]["examples"] == 80
        result = daemon.ask("POST", "/v1/frames?camera=door&label=china", jpegs[0])
        assert events.next("result")[1] == result
        assert events.next("status")[1]["examples"] == 81
        daemon.ask("POST", "/v1/retrain", expect=202)
        assert events.next("retrain")[1]["state"] == "running"
        assert events.next("head")[1]["version"] == "2"
        while events.next("retrain")[1]["state"] != "done":
            pass
        assert events.next("status")[1]["head"] == "2"
        assert b'lastlayer_retrainings_total{outcome="accepted"} 1' in ask(daemon, "GET", "/metrics").body
        daemon.stop(PATIENCE_S)
        assert events.ended()
        events.close()


def test_so_many_listen_to_events_and_no_more(daemon: Daemon) -> None:
    listeners = [Events(daemon) for _ in range(16)]
    assert [listener.status for listener in listeners] == [200] * 16
    refused = ask(daemon, "GET", "/v1/events")
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    for listener in listeners:
        listener.close()


def test_off_loopback_a_token_is_asked_for(state: Path, tmp_path: Path, jpegs: list[bytes]) -> None:
    token, socket_file = tmp_path / "token", tmp_path / "s"
    token.write_text(f"{TOKEN}\n")
    settings = {"host": "0.0.0.0", "token_file": str(token), "socket": str(socket_file)}
    with Daemon(state, {"http": settings}) as daemon:
        for path in ("/v1/status", "/metrics", "/healthz", "/v1/events", "/nowhere"):
            refused = ask(daemon, "GET", path)
            assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert ask(daemon, "POST", "/v1/frames", jpegs[0], Authorization="Bearer " + "0" * 32).status == 401
        shown = ask(daemon, "POST", "/v1/frames", jpegs[0], Authorization=f"Bearer {TOKEN}", Host="board.lan")
        assert shown.json["head"] == "1"
        assert b" 200 " in exchange(connect_unix(socket_file), b"GET /v1/status HTTP/1.1\r\n\r\n")
        assert TOKEN not in daemon.log


def test_an_address_that_comes_too_often_is_told_so(state: Path) -> None:
    with Daemon(state, {"http": {"max_per_second": 0.1}}) as daemon:
        assert ask(daemon, "GET", "/v1/status").status == 200
        refused = ask(daemon, "GET", "/v1/status")
        assert (refused.status, refused.headers["Retry-After"]) == (429, "1")


def test_what_cannot_be_opened_is_said_before_it_serves(state: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    for settings, code, complaint in [
        ("token_file: nowhere", 2, "http.token_file: nowhere cannot be read"),
        ("tls_certificate: nowhere.pem", 2, "http.tls_certificate: nowhere.pem"),
        (f"socket: {tmp_path}/no/s", 7, "set http.socket"),
        (f"socket: {config}", 7, "is no socket"),
    ]:
        config.write_text(f"http: {{port: 0, {settings}}}\n")
        assert complaint in lastlayer("--state", state, "run", "--config", config, expect=code).stderr


def test_a_daemon_that_was_killed_leaves_a_socket_that_the_next_one_takes(state: Path, tmp_path: Path) -> None:
    socket_file = tmp_path / "s"
    settings = {"http": {"socket": str(socket_file)}}
    with Daemon(state, settings) as daemon:
        daemon.kill()
    assert socket_file.is_socket()
    with Daemon(state, settings):
        assert b" 200 " in exchange(connect_unix(socket_file), b"GET /healthz HTTP/1.1\r\n\r\n")
