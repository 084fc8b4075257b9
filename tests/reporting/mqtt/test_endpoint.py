"""How the broker is entered: passwords, certificates, and the example of who may say what, with a real mosquitto."""

import os
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.config import MqttConfig
from agent.errors import ConfigError
from agent.reporting.mqtt.broker import Broker
from agent.reporting.mqtt.endpoint import Endpoint
from agent.reporting.topics import Topics
from tests.mosquitto import PATIENCE_S, Listener, Mosquitto
from tests.waiting import until

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "mosquitto"


def openssl(*words: object, folder: Path) -> None:
    subprocess.run(["openssl", *map(str, words)], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and certificates by it: broker (for 127.0.0.1) and porch; and one that is nobody's, stranger."""
    folder = tmp_path_factory.mktemp("certificates")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for authority in ("ca", "stranger"):
        files = ["-keyout", f"{authority}.key", "-out", f"{authority}.crt"]
        openssl("req", "-x509", *key, *files, "-subj", f"/CN={authority}", "-days", 2, folder=folder)
    for name in ("broker", "porch"):
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}", folder=folder)
        (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
        by = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", 2, "-extfile", "names"]
        openssl("x509", "-req", "-in", f"{name}.csr", *by, "-out", f"{name}.crt", folder=folder)
    return folder


@pytest.fixture
def encrypted(tmp_path: Path, certificates: Path) -> Iterator[Mosquitto]:
    """A broker that wants a certificate, and takes the name in it for the user."""
    settings = [
        f"cafile {certificates}/ca.crt",
        f"certfile {certificates}/broker.crt",
        f"keyfile {certificates}/broker.key",
        "require_certificate true",
        "use_identity_as_username true",
    ]
    with Mosquitto(tmp_path, settings=settings) as broker:
        yield broker


def over_tls(broker: Mosquitto, certificates: Path) -> MqttConfig:
    return MqttConfig(
        host=broker.host,
        port=broker.port,
        node="porch",
        tls=True,
        ca_file=certificates / "ca.crt",
        certificate_file=certificates / "porch.crt",
        key_file=certificates / "porch.key",
    )


def test_both_sides_prove_who_they_are(encrypted: Mosquitto, certificates: Path) -> None:
    broker = Broker(over_tls(encrypted, certificates))
    broker.start()
    assert broker.wait_connected(PATIENCE_S), broker.last_error
    assert encrypted.wait_for_log("u'porch'")
    tls = ssl.create_default_context(cafile=str(certificates / "ca.crt"))
    tls.load_cert_chain(certificates / "porch.crt", certificates / "porch.key")
    with Listener(encrypted, tls=tls) as listener:
        listener.wait_for("lastlayer/porch/availability", lambda said: said == "online")
        assert broker.report("result", {"label": "cat"})
        listener.wait_for("lastlayer/porch/result")
        broker.stop(PATIENCE_S)
        listener.wait_for("lastlayer/porch/availability", lambda said: said == "offline")


# paho leaves the socket of a failed handshake to the garbage collector, which finds it at once, and says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"ca_file": "stranger.crt"}, "certificate verify failed"),
        ({"ca_file": None}, "certificate verify failed"),
        ({"host": "localhost"}, "certificate verify failed"),  # another name than in the certificate
        ({"certificate_file": "stranger.crt", "key_file": "stranger.key"}, ""),
        ({"tls": False, "ca_file": None, "certificate_file": None, "key_file": None}, "closed the connection"),
    ],
)
def test_whoever_cannot_prove_it_is_not_spoken_to(
    changes: dict[str, object], wrong: str, encrypted: Mosquitto, certificates: Path
) -> None:
    files = {
        key: certificates / value if key.endswith("file") and isinstance(value, str) else value
        for key, value in changes.items()
    }
    broker = Broker(replace(over_tls(encrypted, certificates), **files))  # type: ignore[arg-type]
    broker.start()
    assert not broker.wait_connected(1.5)
    said = broker.last_error
    broker.stop(PATIENCE_S)
    assert said is not None and wrong in said


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"ca_file": "nothing"}, "mqtt.ca_file: .* cannot be read: No such file"),
        ({"ca_file": "porch.key"}, "mqtt.ca_file: .* holds no certificates"),
        ({"certificate_file": "nothing"}, "mqtt.certificate_file: .* cannot be read"),
        ({"key_file": "nothing"}, "mqtt.key_file: .* cannot be read"),
        ({"key_file": "stranger.key"}, "mqtt.certificate_file: .* are not a certificate and its key"),
        ({"key_file": None}, "mqtt.certificate_file: .* are not a certificate and its key"),
        ({"key_file": "locked.key"}, "without a password"),
    ],
)
def test_files_that_cannot_be_used_are_named_at_once(
    changes: dict[str, str | None], wrong: str, certificates: Path
) -> None:
    if not (certificates / "locked.key").exists():
        openssl("ec", "-in", "porch.key", "-aes128", "-passout", "pass:x", "-out", "locked.key", folder=certificates)
    good = {"ca_file": "ca.crt", "certificate_file": "porch.crt", "key_file": "porch.key", **changes}
    files = {key: certificates / name if name else None for key, name in good.items()}
    with pytest.raises(ConfigError, match=wrong):
        Endpoint.of(MqttConfig(host="127.0.0.1", tls=True, **files))  # type: ignore[arg-type]


def test_a_password_may_come_from_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mqtt = MqttConfig(host="127.0.0.1", username="porch", password_file=Path("$CREDENTIALS_DIRECTORY/mqtt"))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError, match=r"mqtt\.password_file: .* LoadCredential="):
        Endpoint.of(mqtt)
    (tmp_path / "mqtt").write_text("sesame\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert Endpoint.of(mqtt).password == "sesame"


def test_a_password_or_a_key_that_every_user_may_read_is_warned_of(
    certificates: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    password, key = tmp_path / "password", tmp_path / "key"
    password.write_text("sesame\n")
    key.write_bytes((certificates / "porch.key").read_bytes())
    mqtt = MqttConfig(
        host="127.0.0.1",
        username="porch",
        password_file=password,
        tls=True,
        certificate_file=certificates / "porch.crt",
        key_file=key,
    )
    for mode, said in ((0o640, []), (0o644, ["mqtt.password_file", "mqtt.key_file"])):
        password.chmod(mode)
        key.chmod(mode)
        caplog.clear()
        Broker(mqtt)
        assert [line.partition(": every user may read ")[0] for line in caplog.messages] == said
    caplog.clear()
    password.rename(tmp_path / "mqtt-password")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    tmp_path.chmod(0o700)
    credential = MqttConfig(host="127.0.0.1", username="porch")
    Broker(credential)
    assert not caplog.messages, "systemd keeps the folder"
    tmp_path.chmod(0o755)
    Broker(credential)
    assert len(caplog.messages) == 1


def test_what_is_for_tls_needs_tls() -> None:
    with pytest.raises(ConfigError, match=r"mqtt\.ca_file: .* mqtt\.tls: true"):
        MqttConfig(ca_file=Path("ca.crt"))
    with pytest.raises(ConfigError, match=r"mqtt\.key_file: a key needs its certificate"):
        MqttConfig(tls=True, key_file=Path("key"))


@pytest.fixture
def of_the_example(tmp_path: Path, certificates: Path) -> Iterator[Mosquitto]:
    """A broker with the example's configuration, its files, its port and its certificates replaced."""
    (tmp_path / "state").mkdir(mode=0o700)
    settings = []
    for line in (EXAMPLE / "mosquitto.conf").read_text().splitlines():
        if line and not line.startswith(("#", "listener", "password_file", "allow_anonymous", "persistence ")):
            line = line.replace("/etc/mosquitto/certs", str(certificates))
            line = line.replace("/etc/mosquitto/acl", str(EXAMPLE / "acl"))
            settings.append(line.replace("/var/lib/mosquitto", str(tmp_path / "state")))
    users = dict.fromkeys(("porch", "cellar", "camera-door", "homeassistant", "trainer", "dashboard"), "sesame")
    with Mosquitto(tmp_path, users, settings) as broker:
        yield broker


def test_by_the_example_nobody_writes_what_is_anothers(
    of_the_example: Mosquitto, certificates: Path, tmp_path: Path
) -> None:
    tls = ssl.create_default_context(cafile=str(certificates / "ca.crt"))
    (tmp_path / "sesame").write_text("sesame")

    def user(name: str, topic: str = "#") -> Listener:
        return Listener(of_the_example, topic, (name, "sesame"), tls=tls)

    board = MqttConfig(
        host=of_the_example.host,
        port=of_the_example.port,
        node="porch",
        username="porch",
        password_file=tmp_path / "sesame",
        tls=True,
        ca_file=certificates / "ca.crt",
    )
    heard: list[tuple[str, bytes]] = []
    broker = Broker(board)
    broker.hear(["lastlayer/porch/frame/#", "lastlayer/porch/command/+"], lambda m: heard.append((m.topic, m.payload)))
    broker.start()
    assert broker.wait_connected(PATIENCE_S), broker.last_error
    with user("homeassistant") as home, user("camera-door") as camera, user("cellar") as cellar:
        home.wait_for("lastlayer/porch/availability", lambda said: said == "online")
        broker.publish("homeassistant/device/lastlayer_porch/config", {"origin": {}}, retain=True)
        home.wait_for("homeassistant/device/lastlayer_porch/config")
        broker.report("result", {"label": "cat"})
        camera.wait_for("lastlayer/porch/result")
        for topic in ("lastlayer/porch/result", "lastlayer/porch/command/retrain", "lastlayer/porch/frame/door"):
            cellar.publish(topic, b"of another board")
            camera.publish(topic, b"of a camera")
        broker.publish("lastlayer/cellar/result", {"label": "of another board"})
        broker.publish("homeassistant/device/lastlayer_cellar/config", {}, retain=True)
        home.publish("lastlayer/porch/command/rollback", b"of home")
        cellar.publish("lastlayer/cellar/result", b"its own")
        home.wait_for("lastlayer/cellar/result", lambda said: said == "its own")
        home.publish("lastlayer/porch/command/cancel", b"the end")
        until(lambda: heard[-1:] == [("lastlayer/porch/command/cancel", b"the end")], PATIENCE_S)
        assert heard[:-1] == [
            ("lastlayer/porch/frame/door", b"of a camera"),
            ("lastlayer/porch/command/rollback", b"of home"),
        ]
        assert [said for topic, said in home.heard if topic.endswith("/result")] == [
            {"label": "cat", "seq": 1},
            "its own",
        ]
        assert not any("lastlayer_cellar" in topic for topic, _ in home.heard)
        assert {topic for topic, _ in camera.heard} == {"lastlayer/porch/result"}
        assert not any(topic.startswith("lastlayer/porch") for topic, _ in cellar.heard)
    broker.stop(PATIENCE_S)


def test_by_the_example_a_desktop_may_ask_for_any_task_and_hear_the_answer(
    of_the_example: Mosquitto, certificates: Path
) -> None:
    tls = ssl.create_default_context(cafile=str(certificates / "ca.crt"))
    topics = Topics("porch")
    asked = [topics.exchange("head", "key"), topics.exchange("head", "key", "gate")]
    with (
        Listener(of_the_example, topics.exchanged("+"), ("trainer", "sesame"), tls=tls) as desktop,
        Listener(of_the_example, topics.below("exchange/#"), ("porch", "sesame"), tls=tls) as board,
    ):
        for topic in asked:
            desktop.publish(topic, b"a parcel")
        board.wait_for(asked[-1])
        assert [topic for topic, _ in board.heard] == asked
        board.publish(topics.exchanged("key"), b"a page")
        desktop.wait_for(topics.exchanged("key"))


@pytest.mark.parametrize("key", ["password_file", "ca_file", "certificate_file"])
def test_a_file_that_is_none_is_not_waited_for(tmp_path: Path, key: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    others = {"username": "porch"} if key == "password_file" else {"tls": True}
    for path, what in ((tmp_path / "fifo", "a FIFO"), (Path("/dev/zero"), "a device")):
        with pytest.raises(ConfigError, match=f"mqtt.{key}: {path} cannot be read: it is {what}"):
            Endpoint.of(MqttConfig(host="127.0.0.1", **{key: path}, **others))  # type: ignore[arg-type]
