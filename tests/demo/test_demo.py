"""The demo as people call it: a real broker, the real daemon, real pictures; and nothing is left behind."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from agent.vision.bundle import DEFAULT, SHIPPED
from tests.conftest import crops

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120.0  # generous: the machine may be busy
NUMBER = r"\s+\d+\s+\d+\s+\d+\.\d+\s+\d+\.\d+$"  # reports, count, mean, p95

pytestmark = pytest.mark.skipif(
    not (SHIPPED / DEFAULT / "manifest.json").is_file(), reason=f"models/{DEFAULT} is not there: no backbone to show"
)


class Demo:
    """Calls `lastlayer demo` with a home and a folder for temporary files that are its own."""

    def __init__(self, folder: Path) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self._environment = {**os.environ, "HOME": str(folder), "TMPDIR": str(self.temporary)}
        self._environment.pop("XDG_STATE_HOME", None)

    def start(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "agent", "demo", *options],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *options: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        with self.start(*options) as process:
            try:
                out, err = process.communicate(timeout=PATIENCE_S)
            finally:
                process.kill()
        return process.returncode, out, err

    def left(self) -> list[str]:
        """Its files, and the command lines of processes that know of them."""
        lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
        files = [path.name for path in self.temporary.iterdir()]
        return [line for line in lines if str(self.temporary) in line] + files


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path)
    yield demo
    assert demo.left() == []


def _read_until(lines: IO[str], text: str) -> str:
    """All lines up to the first that holds the text."""
    read = []
    for line in lines:
        read.append(line)
        if text in line:
            return "".join(read)
    raise AssertionError(f"it ended without {text!r}: {''.join(read)}")


def _chapters(out: str) -> list[str]:
    return re.split(r"\n\n\d  ", out)[1:]


def test_the_story_goes_from_unknown_to_known(demo: Demo) -> None:
    code, out, err = demo.run()
    assert (code, err) == (0, "")
    start, before, labels, retraining, after, timings = _chapters(out)
    assert re.search(r"daemon +http://127\.0\.0\.1:\d+\n", start)
    assert '"predictions": [], "unknown": true' in before
    assert re.search(r"POST /v1/frames\?label=\S+ +\d+ pictures", labels)
    assert re.search(r"POST /v1/frames/[0-9a-f]{16}/label ", labels)
    top1 = re.search(r"validation top-1 (\d\.\d{3})", retraining)
    assert top1 and float(top1[1]) > 0.7

    answer = json.loads(after[after.index("{") : after.rindex("}") + 1])
    assert len(answer["predictions"]) == 5 and answer["unknown"] is False and answer["head"] == "1"
    right = re.search(r"right +(\d+) of (\d+)", after)
    assert right and int(right[1]) > 0.7 * int(right[2]) > 0

    for phase in ("decode", "bottleneck", "session_run", "result_processing", "training", "cache_append"):
        assert re.search(rf"^ +{phase}{NUMBER}", timings, re.MULTILINE), phase


@pytest.mark.slow
def test_the_embedded_broker_serves_as_well_and_json_is_all_on_stdout(demo: Demo) -> None:
    code, out, err = demo.run("--broker", "embedded", "--json")
    assert code == 0
    assert "amqtt (embedded)" in err
    told = json.loads(out)
    assert told["before"]["unknown"] is True and told["before"]["predictions"] == []
    assert told["labels"]["at_once"] + told["labels"]["afterwards"] == told["labels"]["examples"]
    assert told["retrain"]["top1"] > 0.7
    assert len(told["after"]["predictions"]) == 5
    assert 0.7 * told["held_out"]["images"] < told["held_out"]["right"] <= told["held_out"]["images"]
    frames = sum(report["count"] for report in told["timings"] if report["phase"] == "decode")
    assert frames == 2 + told["labels"]["examples"] + told["held_out"]["images"]


@pytest.mark.slow
def test_ones_own_photographs_are_learnt(demo: Demo, shared: Path) -> None:
    code, out, _ = demo.run("--photos", str(shared / "data" / "transfer" / "desk_objects"))
    assert code == 0
    assert "of 12 classes to be labelled" in out
    right = re.search(r"right +(\d+) of (\d+)", out)
    assert right and int(right[1]) > 0.4 * int(right[2]) > 0


def test_a_bad_picture_is_reported_and_the_rest_is_learnt(
    demo: Demo, photographs: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    for label, pixels in zip(("china", "flower"), photographs, strict=True):
        folder = tmp_path / "photos" / label
        folder.mkdir(parents=True)
        for i, crop in enumerate(crops(pixels, 20, seed=1)):
            (folder / f"{i}.jpg").write_bytes(crop)
    (folder / "bad.jpg").write_text("no picture")
    code, out, err = demo.run("--photos", str(tmp_path / "photos"))
    assert code == 0
    assert err.count("bad.jpg: left out: not a picture") == 1
    assert re.search(r"right +\d+ of \d+", out)


@pytest.mark.parametrize(("chapter", "number"), [(1, signal.SIGINT), (3, signal.SIGHUP), (4, signal.SIGTERM)])
def test_an_interruption_stops_all_that_was_started(demo: Demo, chapter: int, number: signal.Signals) -> None:
    with demo.start() as process:
        assert process.stdout is not None
        _read_until(process.stdout, f"{chapter}  ")
        process.send_signal(number)
        process.send_signal(number)  # impatience changes nothing
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "interrupted" in err and "Traceback" not in err
    assert "\n5  " not in out


@pytest.mark.slow
def test_what_is_kept_answers_until_it_is_interrupted(demo: Demo) -> None:
    with demo.start("--keep") as process:
        assert process.stdout is not None
        out = _read_until(process.stdout, "mosquitto_sub -h 127.0.0.1 -p")
        url = re.search(r"http://127\.0\.0\.1:\d+", out)
        assert url
        with urllib.request.urlopen(f"{url[0]}/v1/status", timeout=PATIENCE_S) as reply:
            assert json.load(reply)["head"] == "1"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--state", "here"), 2, "leave --state out"),
        (("--photos", "nowhere"), 3, "nowhere: there is no such file or folder"),
        (("--backbone", "nonsense"), 4, "there is no bundle 'nonsense'"),
    ],
)
def test_what_cannot_be_shown_is_refused(demo: Demo, options: tuple[str, ...], code: int, message: str) -> None:
    returned, _, err = demo.run(*options)
    assert returned == code
    assert message in err and "Traceback" not in err
