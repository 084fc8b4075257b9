"""A retraining that behaves: judged, cancelled, paused, and never left behind. The real daemon, as a process; at the
end its child alone, where it does what the real one does not do on demand."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from agent.errors import BusyError, ChildError
from tests.conftest import write_class_folders
from tests.daemon import PATIENCE_S, ROOT, Daemon, lastlayer
from tests.learning.running.conftest import PHASES, PROGRESS, RESULT, Listening, Play, saying
from tests.mosquitto import Listener, Mosquitto
from tests.waiting import until

ENDLESS = {"solver": "adam", "steps": 10_000_000}
# A single step after a single example: it answers that example's label to everything.
BAD = ["--solver", "sgd", "--steps", "1", "--batch", "1", "--learning-rate", "1"]
ALWAYS_SHORT = 1_000_000_000_000  # bytes that no board has free


@pytest.fixture(scope="module")
def judged_once(tmp_path_factory: pytest.TempPathFactory, photographs: list[np.ndarray]) -> Path:
    """A state with 10 train and 30 val examples each of two labels, and head 1 in service."""
    folder = tmp_path_factory.mktemp("judged")
    pictures = write_class_folders(folder / "pictures", photographs, 40)
    rows = ["file,class,split"]
    for label in ("china", "flower"):
        rows += [f"{label}/{n:03d}.jpg,{label},{'train' if n < 10 else 'val'}" for n in range(40)]
    (pictures / "split.csv").write_text("\n".join(rows))
    lastlayer("--state", folder / "state", "learn", pictures / "split.csv")
    lastlayer("--state", folder / "state", "retrain")
    return folder / "state"


@pytest.fixture
def judged(judged_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(judged_once, tmp_path / "state"))


def as_json(*words: object, expect: int = 0) -> Any:
    return json.loads(lastlayer(*words, "--json", expect=expect).stdout)


def running_steps(daemon: Daemon) -> int:
    """The steps of a retraining, once it has made some."""
    return int(until(lambda: daemon.ask("GET", "/v1/retrain").get("step"), PATIENCE_S))


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


# The gate


def test_a_worse_head_is_refused_kept_and_can_be_forced(judged: Path) -> None:
    made = as_json("--state", judged, "retrain", *BAD, expect=8)
    assert (made["version"], made["accepted"]) == ("2", False)
    assert made["gate"]["comparison"]["examples"] == 60
    worse = re.search(r"worse than the head in service: top-1 (0\.\d+) against 1\.000", made["gate"]["reason"])
    assert worse is not None and float(worse[1]) < 0.6
    heads = as_json("--state", judged, "heads")
    assert (heads["active"], [head["accepted"] for head in heads["heads"]]) == ("1", [True, False])

    ended = lastlayer("--state", judged, "heads", "activate", "2", expect=8)
    assert "was refused: worse" in ended.stderr
    assert as_json("--state", judged, "heads", "activate", "2", "--force") == {"active": "2"}
    assert as_json("--state", judged, "heads", "rollback") == {"active": "1"}
    assert "no head to return to" in lastlayer("--state", judged, "heads", "rollback", expect=3).stderr

    text = lastlayer("--state", judged, "retrain", *BAD, expect=8).stdout
    assert "head 3 is REFUSED" in text
    assert "heads activate 3 --force" in text


def test_a_margin_of_one_lets_it_pass(judged: Path) -> None:
    assert as_json("--state", judged, "retrain", *BAD, "--margin", "1")["accepted"] is True
    assert as_json("--state", judged, "heads")["active"] == "2"


@pytest.mark.parametrize(("option", "value"), [("--margin", "1.5"), ("--margin", "nan"), ("--keep-heads", "1")])
def test_settings_that_make_no_sense_are_refused(judged: Path, option: str, value: str) -> None:
    assert "must be" in lastlayer("--state", judged, "retrain", option, value, expect=2).stderr


def test_the_daemon_says_that_a_head_was_refused_and_serves_the_one_before(
    judged: Path, mosquitto: Mosquitto, jpegs: list[bytes]
) -> None:
    config = {
        "retrain": {"solver": "sgd", "steps": 1, "batch": 1, "learning_rate": 1},
        "mqtt": {"host": mosquitto.host, "port": mosquitto.port, "node": "board"},
    }
    with Listener(mosquitto) as listener, Daemon(judged, config) as daemon:
        daemon.ask("POST", "/v1/retrain", expect=202)
        ended = daemon.wait_retrained()
        assert (ended["state"], ended["head"], ended["accepted"]) == ("done", "2", False)
        assert "worse than the head in service" in ended["reason"]
        said = listener.wait_for("lastlayer/board/retrain", lambda payload: payload["state"] == "done")[0]
        assert (said["accepted"], said["reason"]) == (False, ended["reason"])
        assert daemon.ask("POST", "/v1/frames", jpegs[0])["head"] == "1"

        assert "was refused" in daemon.ask("POST", "/v1/heads/2/activate", expect=409)["error"]
        assert "0 or 1" in daemon.ask("POST", "/v1/heads/2/activate?force=yes", expect=400)["error"]
        assert daemon.ask("POST", "/v1/heads/2/activate?force=1") == {"active": "2"}
        assert daemon.ask("POST", "/v1/frames", jpegs[0])["head"] == "2"
        assert daemon.ask("POST", "/v1/heads/rollback") == {"active": "1"}
        assert daemon.ask("POST", "/v1/frames", jpegs[0])["head"] == "1"
        assert "no head to return to" in daemon.ask("POST", "/v1/heads/rollback", expect=404)["error"]
        assert daemon.ask("GET", "/v1/heads/2")["gate"]["accepted"] is False

        as_json("--state", judged, "heads", "activate", "2", "--force")  # by a person, beside the daemon
        until(lambda: daemon.ask("GET", "/v1/status")["head"] == "2", PATIENCE_S)
        as_json("--state", judged, "heads", "rollback")
        until(lambda: daemon.ask("GET", "/v1/status")["head"] == "1", PATIENCE_S)


def test_a_damaged_report_takes_nothing_else_down(judged: Path, jpegs: list[bytes]) -> None:
    path = judged / "heads" / "1" / "report.json"
    path.write_bytes(path.read_bytes().replace(b"lda", b"lbd"))
    with Daemon(judged) as daemon:
        assert daemon.ask("POST", "/v1/frames", jpegs[0])["head"] == "1"
        (head,) = daemon.ask("GET", "/v1/heads")["heads"]
        assert "sha256" in head["error"]
        assert head["labels"] == ["china", "flower"]
        assert "sha256" in daemon.ask("GET", "/v1/heads/1", expect=409)["error"]
        daemon.ask("POST", "/v1/retrain", expect=202)
        assert daemon.wait_retrained()["accepted"] is True
    assert "damaged" in lastlayer("--state", judged, "heads").stdout
    assert "sha256" in lastlayer("--state", judged, "heads", "show", "1", expect=5).stderr


def test_only_so_many_heads_are_kept(judged: Path) -> None:
    for _ in range(3):
        lastlayer("--state", judged, "retrain", *BAD, "--keep-heads", "2", expect=8)
    assert [head["version"] for head in as_json("--state", judged, "heads")["heads"]] == ["1", "3", "4"]


# Curves


def test_all_that_is_known_of_a_head_is_shown_and_drawn(judged: Path, tmp_path: Path) -> None:
    lastlayer("--state", judged, "retrain", "--solver", "adam", "--steps", "40", "--validate-every", "10")
    picture = tmp_path / "curves.png"
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "70"}
    shown = lastlayer("--state", judged, "heads", "show", "2", "--plot", picture, env=environment)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "head 2      in service" in shown.stdout
    assert "█" in shown.stdout
    assert max(map(len, shown.stdout.partition("training loss")[2].splitlines())) <= 70
    for word in ("learning_rate 0.01", "china", "gate", "training loss, logarithmic", "validation top-5"):
        assert word in shown.stdout
    ascii_only = lastlayer("--state", judged, "heads", "show", env={**environment, "PYTHONIOENCODING": "ascii"})
    assert "|#" in ascii_only.stdout
    report = as_json("--state", judged, "heads", "show", "2")
    assert [point["step"] for point in report["curves"]] == [10, 20, 30, 40]
    assert report["settings"]["solver"] == "adam"
    assert "computed at once" in lastlayer("--state", judged, "heads", "show", "1", "--plot", picture).stdout
    assert (
        "cannot be written"
        in lastlayer("--state", judged, "heads", "show", "1", "--plot", tmp_path / "no" / "x.png", expect=5).stderr
    )


# Cancel


def test_what_a_retraining_writes_counts_as_wear(judged: Path) -> None:
    before = psutil.Process().io_counters().write_bytes
    with (judged / "probe").open("wb") as file:
        file.write(bytes(1 << 16))
        os.fsync(file.fileno())
    if psutil.Process().io_counters().write_bytes < before + (1 << 16):
        pytest.skip("what is written to this file system goes to no device")
    with Daemon(judged) as daemon:
        written = daemon.ask("GET", "/v1/status")["cache"]["written_bytes"]
        daemon.ask("POST", "/v1/retrain", expect=202)
        daemon.wait_retrained()
        head = (judged / "heads" / "2" / "head.npz").stat().st_size
        assert daemon.ask("GET", "/v1/status")["cache"]["written_bytes"] >= written + head


def test_a_retraining_is_cancelled_and_nothing_has_changed(judged: Path, mosquitto: Mosquitto) -> None:
    config = {"retrain": ENDLESS, "mqtt": {"host": mosquitto.host, "port": mosquitto.port, "node": "board"}}
    with Listener(mosquitto) as listener, Daemon(judged, config) as daemon:
        assert "no retraining is running" in daemon.ask("DELETE", "/v1/retrain", expect=409)["error"]
        daemon.ask("POST", "/v1/retrain", expect=202)
        running_steps(daemon)
        assert daemon.ask("GET", "/v1/retrain")["eta_s"] > 0
        began = time.monotonic()
        assert daemon.ask("DELETE", "/v1/retrain")["state"] == "cancelled"
        assert time.monotonic() - began < 5
        listener.wait_for("lastlayer/board/retrain", lambda payload: payload["state"] == "cancelled")
        assert psutil.Process(daemon.process.pid).children() == []
        assert daemon.ask("GET", "/v1/heads")["active"] == "1"
        daemon.ask("POST", "/v1/retrain", expect=202)  # and another may begin
    assert len(as_json("--state", judged, "heads")["heads"]) == 1


def hear_ctrl_c() -> None:
    """What a shell starts in the background does not hear it, and neither do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def retraining(judged: Path) -> Iterator["subprocess.Popen[str]"]:
    """`lastlayer retrain`, endless, as a person types it, in the midst of its steps."""
    command = [sys.executable, "-m", "agent", "--state", str(judged), "retrain", "--json"]
    command += ["--solver", "adam", "--steps", "10000000", "--validate-every", "100"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, preexec_fn=hear_ctrl_c, **pipes) as process:
        assert process.stderr is not None
        assert any('"adam"' in line for line in iter(process.stderr.readline, ""))
        yield process
        process.kill()


@pytest.mark.parametrize(("number", "codes"), [(signal.SIGINT, (130,)), (signal.SIGTERM, (143, -signal.SIGTERM))])
def test_ctrl_c_and_sigterm_end_the_command_at_once(
    retraining: "subprocess.Popen[str]", judged: Path, number: signal.Signals, codes: tuple[int, ...]
) -> None:
    before = sorted(path.name for path in (judged / "heads").iterdir())
    began = time.monotonic()
    retraining.send_signal(number)
    _, said = retraining.communicate(timeout=PATIENCE_S)
    assert retraining.returncode in codes  # -15 is what a shell calls 143
    assert time.monotonic() - began < 5
    assert "Traceback" not in said
    assert sorted(path.name for path in (judged / "heads").iterdir()) == before


# Pauses


def test_a_retraining_pauses_when_memory_is_short_and_can_still_be_cancelled(
    judged: Path, mosquitto: Mosquitto, jpegs: list[bytes]
) -> None:
    config = {
        "retrain": {**ENDLESS, "pause_below_free_bytes": ALWAYS_SHORT},
        "mqtt": {"host": mosquitto.host, "port": mosquitto.port, "node": "board"},
    }
    with Listener(mosquitto) as listener, Daemon(judged, config) as daemon:
        daemon.ask("POST", "/v1/retrain", expect=202)
        said = listener.wait_for("lastlayer/board/retrain", lambda payload: payload["state"] == "paused")[0]
        assert "memory is short" in said["reason"]
        status = daemon.ask("GET", "/v1/retrain")
        assert (status["state"], status["pauses"]) == ("paused", 1)
        assert daemon.ask("GET", "/v1/status")["retrain"] == "paused"
        assert "running already" in daemon.ask("POST", "/v1/retrain", expect=409)["error"]
        (child,) = psutil.Process(daemon.process.pid).children()

        def rests() -> bool:
            """It has used no processor for a while."""
            before = child.cpu_times()
            time.sleep(0.5)  # the length of the measurement
            return child.cpu_times() == before

        until(rests, PATIENCE_S)
        assert daemon.ask("POST", "/v1/frames", jpegs[0])["head"] == "1"
        assert daemon.ask("DELETE", "/v1/retrain")["state"] == "cancelled"
        assert not is_alive(child.pid)


@pytest.mark.slow  # it pauses for ten seconds
def test_a_retraining_pauses_when_frames_take_too_long_and_goes_on_afterwards(judged: Path, jpegs: list[bytes]) -> None:
    """At a factor of 0.001 they always do."""
    with Daemon(judged, {"retrain": {**ENDLESS, "pause_latency_factor": 0.001}}) as daemon:
        for _ in range(20):
            daemon.ask("POST", "/v1/frames", jpegs[0])
        daemon.ask("POST", "/v1/retrain", expect=202)
        running_steps(daemon)
        for _ in range(20):
            daemon.ask("POST", "/v1/frames", jpegs[0])
        until(lambda: daemon.ask("GET", "/v1/retrain")["state"] == "paused", PATIENCE_S)
        paused = daemon.ask("GET", "/v1/retrain")
        assert "frames took more than 0.001 times as long" in paused["reason"]
        until(lambda: daemon.ask("GET", "/v1/retrain")["step"] > paused["step"] + 1000, PATIENCE_S)
        status = daemon.ask("GET", "/v1/retrain")
        assert (status["state"], status["pauses"]) == ("running", 1)
        assert "reason" not in status


def test_a_daemon_that_is_stopped_takes_a_paused_retraining_with_it(judged: Path) -> None:
    with Daemon(judged, {"retrain": {**ENDLESS, "pause_below_free_bytes": ALWAYS_SHORT}}) as daemon:
        daemon.ask("POST", "/v1/retrain", expect=202)
        until(lambda: daemon.ask("GET", "/v1/retrain")["state"] == "paused", PATIENCE_S)
        (child,) = psutil.Process(daemon.process.pid).children()
        assert daemon.stop(PATIENCE_S) == 0
        assert not is_alive(child.pid)


@pytest.mark.parametrize("limit", [0, ALWAYS_SHORT], ids=["running", "paused"])
def test_a_daemon_that_is_killed_leaves_no_retraining_behind(judged: Path, limit: int) -> None:
    with Daemon(judged, {"retrain": {**ENDLESS, "pause_below_free_bytes": limit}}) as daemon:
        daemon.ask("POST", "/v1/retrain", expect=202)
        state = "paused" if limit else "running"
        until(lambda: daemon.ask("GET", "/v1/retrain")["state"] == state, PATIENCE_S)
        (child,) = psutil.Process(daemon.process.pid).children()
        daemon.kill()
        until(lambda: not is_alive(child.pid), PATIENCE_S)
    assert as_json("--state", judged, "heads")["active"] == "1"


# A child that cannot be started, and one that says much


def limit_free_files(daemon: Daemon, free: int) -> tuple[int, int]:
    """So many more files may be open there: a connection takes one, a child's pipes eight. The limit before."""
    process = psutil.Process(daemon.process.pid)
    before = process.rlimit(psutil.RLIMIT_NOFILE)
    taken = {int(path.name) for path in Path(f"/proc/{process.pid}/fd").iterdir()}
    limit = [number for number in range(len(taken) + free) if number not in taken][free - 1] + 1
    process.rlimit(psutil.RLIMIT_NOFILE, (limit, before[1]))
    return before


def test_a_retraining_that_cannot_be_started_has_failed_and_another_may_begin(judged: Path) -> None:
    with Daemon(judged) as daemon:
        daemon.ask("GET", "/v1/status")
        before = limit_free_files(daemon, 5)
        for _ in range(2):
            assert "cannot be started: Too many open files" in daemon.ask("POST", "/v1/retrain", expect=500)["error"]
            ended = daemon.ask("GET", "/v1/retrain")
            assert ended["state"] == "failed"
            assert "Too many open files" in ended["error"]
            assert "no retraining is running" in daemon.ask("DELETE", "/v1/retrain", expect=409)["error"]
        psutil.Process(daemon.process.pid).rlimit(psutil.RLIMIT_NOFILE, before)
        daemon.ask("POST", "/v1/retrain", expect=202)
        assert daemon.wait_retrained()["state"] == "done"


def test_a_label_is_acknowledged_although_no_retraining_can_begin(judged: Path, jpegs: list[bytes]) -> None:
    with Daemon(judged, {"retrain": {"auto_after": 1}}) as daemon:
        frame = daemon.ask("POST", "/v1/frames", jpegs[0])["frame_id"]
        limit_free_files(daemon, 5)
        assert daemon.ask("POST", f"/v1/frames/{frame}/label", {"label": "china"})["label"] == "china"
        assert daemon.ask("GET", "/v1/status")["labels"]["china"] == 41
        assert daemon.ask("GET", "/v1/retrain")["state"] == "failed"
        assert "no retraining begins by itself" in daemon.log


def test_a_result_of_thousands_of_labels_is_heard(playing: Play) -> None:
    """A pipe holds 64 kB: it is said on stdout before stderr ends."""
    gate = {"reason": "ok", "new_labels": {f"label {number}": {"recall": 0.5} for number in range(4000)}}
    listening = Listening()
    ended = listening.follow(playing(saying({**RESULT, "gate": gate}, PROGRESS, PHASES, PROGRESS)))
    assert (ended["state"], ended["head"], ended["reason"]) == ("done", "2", "ok")
    assert [status["state"] for status in listening.statuses] == ["running"] * 3 + ["done"]
    assert (listening.phases, listening.written_bytes) == ([{"train": 1}], [7])


def test_listeners_that_fail_change_nothing_of_it(playing: Play, caplog: pytest.LogCaptureFixture) -> None:
    listening = Listening(fails=True)
    assert listening.follow(playing(saying(RESULT, PROGRESS, PHASES)))["state"] == "done"
    assert (len(listening.statuses), listening.phases, listening.written_bytes) == (3, [{"train": 1}], [7])
    assert len(caplog.records) == 5


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (saying({}), "'written_bytes'"),
        (saying(RESULT, {"event": "phases"}), "'phases'"),
        ("import sys; sys.exit('no examples')", "no examples"),
        (
            "import json, os, sys; print(json.dumps({'event': 'progress'}), file=sys.stderr); os._exit(4)",
            "ended with 4",
        ),
    ],
)
def test_whatever_goes_wrong_it_has_failed_and_says_why(playing: Play, program: str, reason: str) -> None:
    ended = Listening().follow(playing(program))
    assert ended["state"] == "failed"
    assert reason in ended["error"]


def test_where_no_thread_can_be_started_it_has_failed_and_no_child_is_left(
    playing: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    retraining, listening = playing("import time; time.sleep(1000)"), Listening()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        for _ in range(2):
            with pytest.raises(ChildError, match="cannot be started: can't start new thread"):
                listening.follow(retraining)
    assert psutil.Process().children() == []
    assert [status["state"] for status in listening.statuses] == ["failed", "failed"]
    assert "can't start new thread" in retraining.status()["error"]


def test_another_is_refused_while_one_runs_and_it_can_be_cancelled(playing: Play) -> None:
    retraining, said = playing("import time; time.sleep(1000)"), Listening()
    follower = threading.Thread(target=said.follow, args=(retraining,))
    follower.start()
    until(lambda: said.statuses, PATIENCE_S)
    with pytest.raises(BusyError, match="running already"):
        Listening().follow(retraining)
    assert retraining.cancel()["state"] == "cancelled"
    follower.join(PATIENCE_S)
    assert [status["state"] for status in said.statuses] == ["running", "cancelled"]
