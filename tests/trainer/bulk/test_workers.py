"""The command with real processes, which end at any instant."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests import loop_device
from tests.daemon import ROOT, lastlayer
from tests.trainer.bulk.corpora import contents, write_corpus

pytest.importorskip("distributed", reason="the trainer extra is not installed")
pytestmark = pytest.mark.slow

COUNT = 1200  # pictures of each of two classes
KILLS = 20

# Commits after every few pictures: so that a run which is killed soon has come a bit further.
PROGRAM = """
import sys
from trainer.bulk import bottlenecks
from trainer.cli import main
bottlenecks.GROUP = bottlenecks.BLOCK = 16
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, photographs: list[np.ndarray]) -> Path:
    return write_corpus(tmp_path_factory.mktemp("bulk") / "corpus", photographs, COUNT)


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    finished(start(corpus, out, "--workers", "1"))
    return out


def start(corpus: Path, out: Path, *words: str) -> subprocess.Popen[str]:
    return command("bottlenecks", str(corpus), "--out", str(out), "--json", "--allow-missing", *words)


def command(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def finished(process: subprocess.Popen[str], expect: int = 0) -> tuple[str, str]:
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == expect, stderr
    return stdout, stderr


def done(out: Path) -> int:
    try:
        return int(json.loads((out / "progress.json").read_text())["done"])
    except FileNotFoundError:
        return 0


def until(condition: object, process: subprocess.Popen[str]) -> None:
    assert callable(condition)
    while not condition() and process.poll() is None:
        time.sleep(0.005)


def test_killed_at_twenty_random_instants_it_comes_to_hold_the_same(corpus: Path, whole: Path, tmp_path: Path) -> None:
    """Half of the kills come while it starts, half while it computes. Its workers do not outlive it."""
    chance = random.Random(0)
    out = tmp_path / "out"
    progressed = 0
    for number in range(KILLS):
        process = start(corpus, out, "--workers", "2")
        before = done(out)
        if number % 2:
            until(lambda before=before: done(out) > before, process)
            progressed += 1
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0, 2))
        time.sleep(chance.uniform(0, 0.05))
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.communicate()
        assert not psutil.wait_procs(family, timeout=30)[1]
    stdout, _ = finished(start(corpus, out, "--workers", "2"))
    assert progressed == KILLS // 2
    assert contents(out) == contents(whole)
    assert (out / "skipped.csv").read_bytes() == (whole / "skipped.csv").read_bytes()
    counts, expected = json.loads(stdout), json.loads((whole / "progress.json").read_text())
    assert counts["added"] == counts["examples"] == len(contents(whole))
    for name in ("added", "known", "contradicting", "unreadable"):
        assert counts[name] == expected[name] > 0
    assert [(one["class"], one["names"]) for one in counts["left_out"]] == [("nothing", [str(corpus / "nothing")])]
    assert counts["missing"].keys() == {"nothing"}
    again = json.loads(finished(start(corpus, out, "--workers", "2"))[0])
    assert again["added"] == counts["added"] and again["scaling"] is None  # there was nothing left to do
    lastlayer("--state", out, "retrain")


def test_a_class_of_which_no_picture_is_left_is_an_error_unless_it_may_be(corpus: Path, tmp_path: Path) -> None:
    process = command("bottlenecks", str(corpus), "--out", str(tmp_path / "out"), "--workers", "1")
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 3
    assert "no picture is left of 1 class: nothing" in stderr and "Traceback" not in stderr
    assert len(contents(tmp_path / "out")) > 0, "the others are learnt"


def test_a_test_set_is_evaluated_as_by_the_agent(corpus: Path, whole: Path) -> None:
    lastlayer("--state", whole, "retrain")
    (corpus / "stranger").mkdir()
    shutil.copy(corpus / "china" / "007.jpg", corpus / "stranger")
    try:
        words = ["evaluate", str(corpus), "--state", str(whole), "--split", "val", "--json"]
        stdout, stderr = finished(command(*words, "--workers", "2"))
        here = json.loads(stdout)
        everything = json.loads(finished(command("evaluate", str(corpus), "--state", str(whole), "--json"))[0])
    finally:
        shutil.rmtree(corpus / "stranger")
    there = json.loads(lastlayer("--state", whole, "--json", "evaluate", corpus, "--split", "val").stdout)
    assert f"warning: no picture is left of 1 class: nothing: the folder is empty ({corpus / 'nothing'})" in stderr
    assert here["images"] == there["images"] > 0
    assert (here["top1"], here["top5"]) == (there["top1"], there["top5"])
    assert everything["unknown_labels"] == {"stranger": 1} and everything["failed"] == 2
    assert everything["images"] == 2 * COUNT  # and 2, which could not be read


@pytest.fixture
def scheduler() -> Iterator[str]:
    """Two workers of a cluster that is somewhere else."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    distributed = [sys.executable, "-m", "distributed.cli"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ends = [
        subprocess.Popen([*words], env=environment, stderr=subprocess.DEVNULL)
        for words in (
            [*distributed[:2], "distributed.cli.dask_scheduler", "--port", str(port), "--no-dashboard"],
            [*distributed[:2], "distributed.cli.dask_worker", address, "--nthreads", "1", "--nworkers", "2"],
        )
    ]
    yield address
    family = [child for end in ends for child in psutil.Process(end.pid).children(recursive=True)]
    for end in ends:
        end.send_signal(signal.SIGINT)
    for end in ends:
        end.wait(30)
    psutil.wait_procs(family, timeout=30)


def test_workers_that_are_killed_on_a_cluster_elsewhere_lose_nothing(
    corpus: Path, whole: Path, tmp_path: Path, scheduler: str
) -> None:
    """Pictures go as bytes there, and as answers come back: byte for byte what one worker here gives."""
    out = tmp_path / "out"
    process = start(corpus, out, "--scheduler", scheduler)
    for _ in range(2):
        before = done(out)
        until(lambda before=before: done(out) > before and len(workers_of(scheduler)) == 2, process)
        with contextlib.suppress(psutil.NoSuchProcess):
            workers_of(scheduler)[0].kill()  # the other one goes on, until this one has come again
    finished(process)
    assert contents(out) == contents(whole)


def workers_of(scheduler: str) -> list[psutil.Process]:
    return [
        each
        for each in psutil.process_iter(["cmdline"])
        if "spawn_main" in " ".join(each.info["cmdline"] or ()) and scheduler in "".join(parents(each))
    ]


def parents(process: psutil.Process) -> list[str]:
    try:
        return [word for parent in process.parents() for word in parent.cmdline()]
    except psutil.Error:
        return []


def test_a_scheduler_that_is_not_there_is_named(corpus: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = PROGRAM.replace("import sys", "import sys\nfrom trainer import cluster\ncluster.CONNECT_S = 1.0")
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            program,
            "bottlenecks",
            corpus,
            "--out",
            tmp_path,
            "--scheduler",
            f"tcp://127.0.0.1:{port}",
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert ended.returncode == 7
    assert f"tcp://127.0.0.1:{port} has no workers for us" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(not loop_device.available(), reason="needs root, loop devices and mkfs.ext4")
def test_a_disk_that_fills_ends_it_with_a_message(corpus: Path, whole: Path, tmp_path: Path) -> None:
    with loop_device.ext4(tmp_path, 24 << 20) as device:
        out, ballast = device.mount / "out", device.mount / "ballast"
        finished(start(corpus, out, "--workers", "1", "--scaling"))  # leaves nothing behind
        assert not out.exists()
        ballast.write_bytes(bytes(14 << 20))
        _, stderr = finished(start(corpus, out, "--workers", "2"), expect=5)
        assert "No space left on device" in stderr and "goes on where it was" in stderr
        assert "Traceback" not in stderr
        ballast.unlink()
        finished(start(corpus, out, "--workers", "2"))
        assert contents(out) == contents(whole)


def test_a_picture_that_ends_its_worker_is_found_and_the_rest_goes_on(
    tmp_path: Path, photographs: list[np.ndarray]
) -> None:
    corpus = write_corpus(tmp_path / "corpus", photographs, 20)
    deadly = """
import agent.vision.classifier as classifier, os
whole = classifier.Picture
def picture(payload, *words, **more):
    if payload.endswith(b"deadly"):
        os._exit(11)
    return whole(payload, *words, **more)
classifier.Picture = picture
"""
    (tmp_path / "sitecustomize.py").write_text(deadly)
    victim = corpus / "china" / "004.jpg"
    victim.write_bytes(victim.read_bytes() + b"deadly")
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            PROGRAM,
            "bottlenecks",
            corpus,
            "--out",
            tmp_path / "out",
            "--json",
            "--workers",
            "2",
            "--allow-missing",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
    )
    stdout, _ = finished(process)
    assert json.loads(stdout)["unreadable"] == 3
    assert f"{victim},china,it ends the process that decodes it" in (tmp_path / "out" / "skipped.csv").read_text()
