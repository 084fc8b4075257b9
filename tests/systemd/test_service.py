"""The service under a real systemd: started, watched, killed, starved, broken, and stopped."""

import json
import signal
from typing import Any

import pytest

from tests.daemon import ROOT
from tests.systemd.container import PATIENCE_S, Container, Unit
from tests.waiting import until

pytestmark = pytest.mark.systemd

STATE = "var/lib/lastlayer"
BROKER = """\
listener 1883 127.0.0.1
allow_anonymous false
password_file /etc/mosquitto/passwords
"""

# In the place of the TFLite runtime one that does its work until it is told to fail.
FAILING_RUNTIME = """
import os
from ai_edge_litert.interpreter import Interpreter

invoke = Interpreter.invoke

def failing(self):
    if os.path.exists("/run/lastlayer/fail"):
        raise RuntimeError("Node number 3 failed to invoke.")
    invoke(self)

Interpreter.invoke = failing
"""


@pytest.fixture(autouse=True)
def running(service: Unit, container: Container) -> None:
    """Whatever the test before left."""
    container.run("systemctl", "start", service.name)
    service.is_reached("active")


def ask(container: Container, path: str, *words: object, stdin: bytes = b"", expect: int | None = 0) -> Any:
    command = ["curl", "--silent", "--fail-with-body", "--max-time", "60", *words, f"http://127.0.0.1:8080{path}"]
    return json.loads(container.run(*command, stdin=stdin, expect=expect) or "null")


def push(container: Container, picture: bytes, query: str = "") -> Any:
    return ask(container, f"/v1/frames{query}", "--data-binary", "@-", stdin=picture)


def test_it_is_ready_and_answers(service: Unit, container: Container, jpegs: list[bytes]) -> None:
    assert service.show("StatusText").startswith("listening on http://127.0.0.1:8080 and /run/lastlayer/http.sock")
    assert push(container, jpegs[0])["unknown"] is True
    frames = ask(container, "/v1/status")["frames"]

    def told() -> bool:
        return f"{frames} frames since the start" in service.show("StatusText")

    until(told, PATIENCE_S)


def test_its_journal_has_priorities_and_no_second_time_stamp(service: Unit, container: Container) -> None:
    lines = container.run("journalctl", "-u", service.name, "-o", "json", f"_PID={service.pid}").splitlines()
    entries = [json.loads(line) for line in lines]
    (listening,) = (entry for entry in entries if "listening on" in entry["MESSAGE"])
    assert listening["MESSAGE"].startswith("agent.daemon: listening")
    assert listening["PRIORITY"] == "6"


def test_a_killed_daemon_is_started_again_and_knows_what_it_had_learnt(
    service: Unit, container: Container, jpegs: list[bytes]
) -> None:
    push(container, jpegs[0], "?label=glass")
    learnt = ask(container, "/v1/status")["labels"]
    before = service.pid
    container.run("kill", "-KILL", before)
    service.is_restarted(after=before)
    assert ask(container, "/v1/status")["labels"] == learnt
    assert "glass" in learnt


def test_a_daemon_that_hangs_is_started_again_by_the_watchdog(service: Unit, container: Container) -> None:
    before = service.pid
    container.run("kill", "-STOP", before)
    service.is_restarted(after=before)
    assert "Watchdog timeout" in service.journal


def test_a_runtime_that_fails_starves_the_watchdog_until_a_new_process_does_better(
    service: Unit, container: Container
) -> None:
    edge = container.root / "usr/lib/lastlayer/sitecustomize.py"
    edge.write_text(FAILING_RUNTIME)
    container.run("systemctl", "restart", service.name)
    before = service.pid
    container.run("touch", "/run/lastlayer/fail")  # the folder goes with the process, and so does the failure
    service.is_restarted(after=before)
    edge.unlink()
    journal = service.journal
    assert "no frame can be classified" in journal
    assert "Node number 3 failed to invoke" in journal
    assert "Watchdog timeout" in journal


def test_a_backbone_that_is_damaged_on_flash_ends_the_service_with_a_word_that_helps(
    service: Unit, container: Container
) -> None:
    model = container.root / STATE / "backbone/model.tflite"
    kept = model.read_bytes()
    container.run("tee", f"/{STATE}/backbone/model.tflite", stdin=kept[:-4096] + bytes(4096))
    container.run("kill", "-KILL", service.pid)
    service.is_reached("failed")
    assert "model.tflite is damaged: its sha256 is not the one in" in service.journal
    assert service.show("ExecMainStatus") == "4"
    container.run("tee", f"/{STATE}/backbone/model.tflite", stdin=kept)
    container.run("systemctl", "reset-failed", service.name)


def test_a_configuration_that_is_refused_is_said_and_not_tried_again(service: Unit, container: Container) -> None:
    config = container.root / "etc/lastlayer/lastlayer.yaml"
    kept = config.read_text()
    config.write_text(f"{kept}\nhtttp: 1\n")
    container.run("systemctl", "restart", service.name, expect=None)
    service.is_reached("failed")
    assert service.show("ExecMainStatus") == "2"
    assert "htttp is not a key" in container.run("systemctl", "status", service.name, expect=None)
    config.write_text(kept)
    container.run("systemctl", "reset-failed", service.name)


def test_it_stops_in_time(service: Unit, container: Container) -> None:
    container.run("systemctl", "stop", service.name)
    assert (service.show("Result"), service.show("ExecMainStatus"), service.show("ExecMainCode")) == (
        "success",
        "0",
        "1",
    )
    took_us = int(service.show("InactiveEnterTimestampMonotonic")) - int(service.show("ActiveExitTimestampMonotonic"))
    assert took_us < 10e6


def test_the_broker_s_password_is_a_credential_that_others_cannot_read(service: Unit, container: Container) -> None:
    if not (container.root / "usr/sbin/mosquitto").exists():
        pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
    (container.root / "etc/mosquitto/conf.d/test.conf").write_text(BROKER)
    container.run("mosquitto_passwd", "-b", "-c", "/etc/mosquitto/passwords", "board", "sesame")
    container.run("chown", "mosquitto", "/etc/mosquitto/passwords")
    container.run("systemctl", "restart", "mosquitto")
    config = container.root / "etc/lastlayer/lastlayer.yaml"
    kept = config.read_text()
    config.write_text("mqtt:\n  host: 127.0.0.1\n  username: board\n")
    secret = container.root / "etc/lastlayer/mqtt-password"
    secret.write_text("sesame\n")
    secret.chmod(0o600)
    container.run("systemctl", "restart", service.name)
    until(lambda: ask(container, "/v1/status")["mqtt"]["connected"], PATIENCE_S)
    container.run("cat", "/etc/lastlayer/mqtt-password", user="lastlayer", expect=1)
    assert "sesame" not in container.run("systemctl", "show", service.name)
    config.write_text(kept)
    secret.unlink()
    container.run("systemctl", "restart", service.name)


def test_a_retraining_runs_within_the_hardening(service: Unit, container: Container, jpegs: list[bytes]) -> None:
    for label, picture in zip(("china", "flower"), jpegs, strict=True):
        push(container, picture, f"?label={label}")
    ask(container, "/v1/retrain", "--request", "POST")
    until(lambda: ask(container, "/v1/retrain")["state"] in ("done", "failed"), PATIENCE_S, 0.2)
    ended = ask(container, "/v1/retrain")
    assert ended["state"] == "done", f"{ended}\n{service.journal}"
    assert "Operation not permitted" not in service.journal


def test_another_backbone_comes_into_use_without_the_service_ending(service: Unit, container: Container) -> None:
    def backbone() -> object:  # None while it begins anew
        return (ask(container, "/v1/status", expect=None) or {}).get("backbone")

    before = service.pid
    network = (ROOT / "tests/vision/networks/mean_float32.tflite").read_bytes()
    (container.root / "srv/mean.tflite").write_bytes(network)
    container.run("lastlayer", "models", "import", "/srv/mean.tflite", "--use", user="lastlayer")
    until(lambda: backbone() == "mean", PATIENCE_S, 0.2)
    assert (service.pid, service.state) == (before, "active")
    container.run("lastlayer", "models", "rollback", user="lastlayer")
    until(lambda: backbone() not in (None, "mean"), PATIENCE_S, 0.2)
    assert (service.pid, service.state) == (before, "active")


def test_the_doctor_finds_nothing_that_fails(service: Unit, container: Container) -> None:
    for user in ("root", "lastlayer"):
        said = json.loads(container.run("lastlayer", "doctor", "--json", user=user))
        found = {check["name"]: check["found"] for check in said["checks"]}
        assert found["config"] == "/etc/lastlayer/lastlayer.yaml"
        assert found["state"] == f"/{STATE}, in use by the running daemon"


def test_the_doctor_says_what_root_left_in_the_state(service: Unit, container: Container) -> None:
    container.run("touch", f"/{STATE}/cache/of-root")
    said = container.run("lastlayer", "doctor", expect=1)
    assert f"/{STATE}/cache/of-root belongs to another user" in said
    container.run("rm", f"/{STATE}/cache/of-root")


def test_the_group_of_cameras_may_push_through_the_socket_and_nobody_else(
    service: Unit, container: Container, jpegs: list[bytes]
) -> None:
    container.run("useradd", "--system", "--groups", "lastlayer-camera", "camera")
    socket = "/run/lastlayer/http.sock"
    assert container.run("stat", "-c", "%U %G %a %F", socket).strip() == "lastlayer lastlayer-camera 660 socket"
    command = ["curl", "-s", "--fail-with-body", "--unix-socket", socket, "--data-binary", "@-"]
    command.append("http://lastlayer/v1/frames?camera=door")
    assert json.loads(container.run(*command, user="camera", stdin=jpegs[0]))["camera"] == "door"
    container.run(*command, user="nobody", stdin=jpegs[0], expect=7)  # curl: cannot connect
    container.run("ls", f"/{STATE}", user="camera", expect=2)


def test_nobody_else_reads_what_was_learnt(service: Unit, container: Container) -> None:
    assert container.run("stat", "-c", "%U %G %a", f"/{STATE}").strip() == "lastlayer lastlayer-camera 700"
    assert container.run("stat", "-c", "%U %G %a", "/run/lastlayer").strip() == "lastlayer lastlayer-camera 750"
    container.run("ls", f"/{STATE}", user="nobody", expect=2)


def test_only_those_who_may_can_signal_it(service: Unit, container: Container) -> None:
    before = service.pid
    container.run("kill", f"-{signal.SIGKILL}", before, user="nobody", expect=None)
    assert service.pid == before
