"""The checks of what the daemon needs, on real folders, sockets, brokers and models."""

import fcntl
import os
import socket
from pathlib import Path

import pytest

from agent.config import HttpConfig, MqttConfig
from agent.doctor import service
from agent.doctor.broker import broker
from tests.daemon import Daemon
from tests.mosquitto import Mosquitto


@pytest.mark.parametrize(("free", "outcome"), [(10 << 20, "fail"), (100 << 20, "warn"), (1 << 30, "ok")])
def test_little_room_warns_and_none_fails(free: int, outcome: str, tmp_path: Path) -> None:
    check = service.flash(tmp_path / "not" / "yet", lambda _: free)
    assert check.outcome == outcome
    assert str(tmp_path) in check.found


def test_a_card_that_does_not_answer_fails(tmp_path: Path) -> None:
    def failing(path: Path) -> int:
        raise OSError(5, "Input/output error")

    assert service.flash(tmp_path, failing).outcome == "fail"


def test_a_state_that_is_not_there_yet_will_be_made(tmp_path: Path) -> None:
    assert service.state(tmp_path / "state", serving=False).found == f"{tmp_path / 'state'} will be made"
    assert list(tmp_path.iterdir()) == [], "looking leaves nothing behind"


def test_a_state_that_cannot_be_written_fails() -> None:
    check = service.state(Path("/proc/lastlayer"), serving=False)
    assert check.outcome == "fail"
    assert check.advice


@pytest.mark.parametrize("cache", ["cache", "generations/later/cache", "tasks/gate/cache"])
def test_a_state_that_another_process_writes_is_a_warning(cache: str, tmp_path: Path) -> None:
    (tmp_path / cache).mkdir(parents=True)
    with (tmp_path / cache / "lock").open("w") as lock:
        assert service.state(tmp_path, serving=False).outcome == "ok"
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert service.state(tmp_path, serving=False).outcome == "warn"
        assert service.state(tmp_path, serving=True).outcome == "ok"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_in_the_state_fails(tmp_path: Path) -> None:
    (tmp_path / "heads").mkdir()
    os.chown(tmp_path / "heads", 12345, 12345)
    check = service.state(tmp_path, serving=False)
    assert (check.outcome, str(tmp_path / "heads") in check.found) == ("fail", True)


def test_an_address_that_is_taken_fails_unless_lastlayer_has_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        check = service.address("127.0.0.1", port, serving=False)
        assert (check.outcome, f"sport = :{port}" in check.advice) == ("fail", True)
    assert service.address("127.0.0.1", port, serving=False).outcome == "ok"
    assert not service.answers("127.0.0.1", port, tls=False)
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123456789abcdef\n")
    for config in ({}, {"http": {"token_file": str(token)}}):
        with Daemon(tmp_path / "state", config) as daemon:
            assert service.answers("127.0.0.1", daemon.port, tls=False)


def test_an_address_of_another_machine_fails() -> None:
    assert service.address("203.0.113.7", 8080, serving=False).outcome == "fail"


def test_a_token_or_a_certificate_that_cannot_be_read_fails(tmp_path: Path) -> None:
    assert service.access(HttpConfig()).outcome == "ok"
    assert service.access(HttpConfig(token_file=tmp_path / "none")).outcome == "fail"
    (tmp_path / "token").write_text("0123456789abcdef\n\n")
    odd = service.access(HttpConfig(token_file=tmp_path / "token"))
    assert (odd.outcome, "has 0A at byte 16, a line feed" in odd.found) == ("fail", True)
    certificate = tmp_path / "certificate.pem"
    certificate.write_text("none")
    assert service.access(HttpConfig(tls_certificate=certificate)).outcome == "fail"


def test_the_socket_s_folder_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert service.unix_socket(None).outcome == "ok"
    assert service.unix_socket(tmp_path / "http.sock").outcome == "ok"
    assert service.unix_socket(tmp_path / "none" / "http.sock").outcome == "fail"
    (tmp_path / "file").touch()
    assert service.unix_socket(tmp_path / "file").outcome == "fail"
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "none"))
    assert service.unix_socket(tmp_path / "none" / "http.sock").outcome == "ok", "systemd makes it"


def test_without_a_broker_nothing_is_asked() -> None:
    assert broker(MqttConfig()).outcome == "ok"


def test_a_broker_that_is_not_there_fails() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    check = broker(MqttConfig(host="127.0.0.1", port=port))
    assert (check.outcome, "Connection refused" in check.found) == ("fail", True)


def test_a_broker_that_accepts_and_never_answers_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.doctor.broker.TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        check = broker(MqttConfig(host="127.0.0.1", port=mute.getsockname()[1]))
    assert (check.outcome, "does not answer" in check.found) == ("fail", True)


def test_the_login_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Mosquitto(tmp_path, users={"board": "sesame"}) as guarded:
        mqtt = MqttConfig(host=guarded.host, port=guarded.port, username="board")
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        (tmp_path / "mqtt-password").write_text("sesame\n")
        assert broker(mqtt).outcome == "ok"
        (tmp_path / "mqtt-password").write_text("guessed\n")
        refused = broker(mqtt)
        assert (refused.outcome, "refused the connection" in refused.found) == ("fail", True)
        (tmp_path / "mqtt-password").write_bytes(b"\xef\xbb\xbfsesame\r\n")
        refused = broker(mqtt)
        assert (refused.outcome, "begins with EF BB BF" in refused.found) == ("fail", True)
        assert "sesame" not in refused.found


def test_an_odd_byte_in_a_password_that_a_broker_takes_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(b"sesame\n\n")
    (tmp_path / "password").chmod(0o600)
    with Mosquitto(tmp_path) as anyone:
        check = broker(
            MqttConfig(host=anyone.host, port=anyone.port, username="board", password_file=tmp_path / "password")
        )
    assert (check.outcome, "has 0A at byte 6, a line feed" in check.found) == ("warn", True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("max_packet_size 4000", "takes packets of 4000 bytes at most"),
        ("retain_available false", "keeps no message"),
        ("max_qos 0", "acknowledges nothing"),
    ],
)
def test_a_broker_that_can_do_less_is_warned_of(settings: str, said: str, tmp_path: Path) -> None:
    with Mosquitto(tmp_path, settings=[settings]) as limited:
        check = broker(MqttConfig(host=limited.host, port=limited.port))
    assert (check.outcome, said in check.found, settings.split()[0] in check.advice) == ("warn", True, True)


def test_secrets_that_every_user_may_read_are_warned_of(tmp_path: Path) -> None:
    token, password = tmp_path / "a token", tmp_path / "password"
    token.write_text("x" * 32)
    password.write_text("sesame")
    with Mosquitto(tmp_path) as anyone:
        mqtt = MqttConfig(host=anyone.host, port=anyone.port, username="board", password_file=password)
        for mode, outcome in ((0o644, "warn"), (0o642, "warn"), (0o640, "ok"), (0o600, "ok")):
            token.chmod(mode)
            password.chmod(mode)
            checks = service.access(HttpConfig(token_file=token)), broker(mqtt)
            assert [check.outcome for check in checks] == [outcome] * 2
            advice = [f"chmod o= '{token}'", f"chmod o= {password}"] if outcome == "warn" else ["", ""]
            assert [check.advice for check in checks] == advice
