"""What systemd is told: a real socket in the place of its own."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.board.systemd import (
    FEEDS,
    JournalFormatter,
    Notifier,
    Watchdog,
    credential,
    logs_to_journal,
    state_directory,
)
from tests.daemon import PATIENCE_S, ROOT, Daemon


class Manager:
    """The end of $NOTIFY_SOCKET that is systemd's."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.settimeout(PATIENCE_S)

    def hears(self) -> dict[str, str]:
        """The next message."""
        lines = self._socket.recv(65536).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    def has_heard(self) -> list[dict[str, str]]:
        """All that is there already."""
        self._socket.setblocking(False)
        heard = []
        try:
            while True:
                heard.append(self.hears())
        except BlockingIOError:
            self._socket.settimeout(PATIENCE_S)
            return heard

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path)
    yield manager
    manager.close()


def test_outside_of_a_service_nobody_is_told() -> None:
    notifier = Notifier.from_environment({})
    notifier.ready("listening")
    notifier.stopping()
    assert notifier.watchdog_s is None


def test_children_do_not_inherit_the_right_to_speak_for_the_service(manager: Manager) -> None:
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier.from_environment(environment)
    assert environment == {}
    assert notifier.watchdog_s == 60.0
    notifier.ready("listening on\nhttp://127.0.0.1:8080")
    assert manager.hears() == {"READY": "1", "STATUS": "listening on http://127.0.0.1:8080"}


@pytest.mark.parametrize(
    "environment",
    [{"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "often"}, {"WATCHDOG_USEC": "0"}],
)
def test_a_watchdog_of_somebody_else_is_not_fed(environment: dict[str, str]) -> None:
    assert Notifier.from_environment(environment).watchdog_s is None


def test_an_abstract_socket_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0lastlayer-{os.getpid()}")
        Notifier(f"@lastlayer-{os.getpid()}").stopping()
        assert listener.recv(100).startswith(b"STOPPING=1")


def test_a_manager_that_is_gone_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    Notifier(str(tmp_path / "gone")).status("well")
    assert "systemd cannot be told STATUS=well" in caplog.text


class Service:
    """What the watchdog asks."""

    def __init__(self) -> None:
        self.trouble: str | None = None
        self.asked = 0

    def ask(self) -> str | None:
        self.asked += 1
        return self.trouble


def watchdog(manager: Manager, service: Service, limit_s: float | None) -> Watchdog:
    return Watchdog(Notifier(manager.address, limit_s), service.ask, lambda: "head 1")


def test_it_is_fed_no_oftener_than_it_must(manager: Manager) -> None:
    service = Service()
    dog = watchdog(manager, service, limit_s=3600.0 * FEEDS)
    for _ in range(100):
        dog.look()
    assert (manager.has_heard(), service.asked) == ([{"WATCHDOG": "1", "STATUS": "head 1"}], 1)


def test_without_a_watchdog_nothing_is_tried(manager: Manager) -> None:
    service = Service()
    watchdog(manager, service, None).look()
    assert (manager.has_heard(), service.asked) == ([], 0)


def test_trouble_is_said_once_and_starves_it_until_it_is_over(
    manager: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service()
    service.trouble = "the model is gone"
    dog = watchdog(manager, service, limit_s=1e-6)
    for _ in range(3):
        dog.look()
    assert manager.has_heard() == [{"STATUS": "no frame can be classified: the model is gone"}]
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    service.trouble = None
    dog.look()
    assert manager.has_heard() == [{"WATCHDOG": "1", "STATUS": "head 1"}]


def test_the_daemon_says_ready_feeds_and_says_that_it_stops(
    manager: Manager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jpegs: list[bytes]
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    with Daemon(tmp_path / "state") as daemon:
        assert manager.hears() == {"READY": "1", "STATUS": f"listening on {daemon.url}"}
        daemon.ask("POST", "/v1/frames", jpegs[0])
        while (heard := manager.hears())["STATUS"] != "no head yet, 0 examples, 1 frames since the start":
            assert heard["WATCHDOG"] == "1"
        phases = {report["phase"]: report["count"] for report in daemon.ask("GET", "/v1/timings")["phases"]}
        assert phases["bottleneck"] == 1, "the check is counted among the frames"
    assert {"STOPPING": "1", "STATUS": "stopping"} in manager.has_heard()


def test_folders_and_credentials_are_found_where_systemd_put_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("STATE_DIRECTORY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(variable, raising=False)
    assert (state_directory(), credential("mqtt-password")) == (None, None)
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/lastlayer:/var/lib/other")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert state_directory() == Path("/var/lib/lastlayer")
    assert credential("mqtt-password") is None
    (tmp_path / "mqtt-password").write_text("\n")
    assert credential("mqtt-password") is None, "an empty line stands for none"
    (tmp_path / "mqtt-password").write_text("secret")
    assert credential("mqtt-password") == tmp_path / "mqtt-password"


def test_the_journal_gets_a_priority_on_every_line_and_no_second_time_stamp() -> None:
    try:
        raise ValueError("torn")
    except ValueError:
        record = logging.LogRecord("agent.x", logging.ERROR, "", 0, "it %s", ("failed",), sys.exc_info())
    lines = JournalFormatter().format(record).splitlines()
    assert lines[0] == "<3>agent.x: it failed"
    assert lines[-1] == "<3>ValueError: torn"
    assert all(line.startswith("<3>") for line in lines)


@pytest.mark.parametrize(("level", "number"), [("DEBUG", 7), ("INFO", 6), ("WARNING", 4), ("CRITICAL", 2)])
def test_levels_become_priorities(level: str, number: int) -> None:
    record = logging.LogRecord("agent", getattr(logging, level), "", 0, "so", (), None)
    assert JournalFormatter().format(record) == f"<{number}>agent: so"


def test_stderr_that_is_not_the_journal_keeps_its_time_stamps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "log").open("w") as log:
        monkeypatch.setenv("JOURNAL_STREAM", "1:2")
        assert not logs_to_journal(log)
        status = os.fstat(log.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert logs_to_journal(log)


def test_an_error_that_ends_the_service_has_a_priority_in_the_journal(tmp_path: Path) -> None:
    log = tmp_path / "journal"
    with log.open("w") as stream:
        status = os.fstat(stream.fileno())
        environment = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        command = [sys.executable, "-m", "agent", "run", "--config", str(tmp_path / "none.yaml")]
        ended = subprocess.run(command, stderr=stream, cwd=ROOT, env=environment)
    assert ended.returncode == 2
    assert log.read_text().startswith("<3>lastlayer run: ")
