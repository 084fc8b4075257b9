"""The agent as it is installed on a 32-bit ARM board with Debian 12: it works, and says what x86-64 says.

The processor is an emulated one.
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from agent.cache import Cache
from agent.learning.heads.store import HeadStore
from agent.vision.bundle import DEFAULT, load_bundle, shipped
from agent.vision.image import decode
from tests.boards.debian import UnavailableError, unpack
from tests.boards.machine import APT, ARMV7L, machine
from tests.conftest import crops, write_class_folders
from tests.daemon import PATIENCE_S, Daemon, lastlayer
from tests.mosquitto import Listener, Mosquitto
from tests.package import package
from tests.waiting import until

pytestmark = pytest.mark.arm

LEARNT, HELD_OUT = 12, 6  # crops of each photograph
VERSIONS = """
import importlib, json, platform
names = ("numpy", "PIL", "psutil", "yaml", "tqdm", "h11", "tflite_runtime")
versions = {name: importlib.import_module(name).__version__ for name in names}
print(json.dumps({**versions, "machine": platform.machine()}))
"""
SEEING = """
import sys
from pathlib import Path
import numpy as np
from agent.vision.backbone import Backbone
from agent.vision.bundle import load_bundle
from agent.vision.image import decode
backbone = Backbone(load_bundle(sys.argv[1]))
images = [decode(Path(path).read_bytes(), backbone.bundle.width, backbone.bundle.height) for path in sys.argv[3:]]
np.savez(sys.argv[2], images=images, bottlenecks=[backbone.bottleneck(image) for image in images])
"""


class Board:
    """A board on which the package is installed, and a state of its own."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.agent = (str(root / "usr" / "bin" / "lastlayer"),)
        self.folder = folder  # outside the checkout: what runs is what is installed
        self.state = folder / "state"

    def lastlayer(self, *words: object) -> Any:
        """The JSON that a command answers with."""
        return json.loads(
            lastlayer("--state", self.state, *words, "--json", agent=self.agent, cwd=self.folder, timeout=600).stdout
        )

    def python(self, program: str, *words: object) -> str:
        """What a program says on stdout that uses the modules of the package."""
        command = [str(self.root / "usr" / "bin" / "python3"), "-c", program, *map(str, words)]
        environment = {**os.environ, "PYTHONPATH": str(self.root / "usr" / "lib" / "lastlayer")}
        return subprocess.run(
            command, check=True, cwd=self.folder, env=environment, stdout=subprocess.PIPE, text=True
        ).stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package("armhf", tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def installed(built: Path) -> Path:
    """The root of a board with the package: as dpkg unpacks it, but in a folder; only its scripts are not run."""
    try:
        root = machine(ARMV7L).root
    except UnavailableError as reason:
        pytest.skip(f"no 32-bit ARM here: {reason}")
    shutil.rmtree(root / "usr" / "lib" / "lastlayer", ignore_errors=True)
    unpack([built], root)
    command = root / "usr" / "bin" / "lastlayer"
    command.write_text(command.read_text().replace("/usr/", f"{root}/usr/"))
    return root


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, photographs: list[NDArray[np.uint8]]) -> Path:
    return write_class_folders(tmp_path_factory.mktemp("pictures"), photographs, LEARNT)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory, photographs: list[NDArray[np.uint8]]) -> list[Path]:
    """Crops that were not learnt, of both labels in turn."""
    folder = tmp_path_factory.mktemp("held_out")
    pairs = zip(*(crops(photograph, HELD_OUT, seed=1) for photograph in photographs), strict=True)
    paths = [folder / f"{number}.jpg" for number in range(2 * HELD_OUT)]
    for path, payload in zip(paths, (payload for pair in pairs for payload in pair), strict=True):
        path.write_bytes(payload)
    return paths


@pytest.fixture(scope="module")
def board(installed: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Board:
    """One that has learnt the pictures, with head 1 in service."""
    board = Board(installed, tmp_path_factory.mktemp("board"))
    assert board.lastlayer("learn", pictures)["added"] == 2 * LEARNT
    assert board.lastlayer("retrain")["version"] == "1"
    return board


@pytest.fixture(scope="module")
def seen(board: Board, held_out: list[Path]) -> dict[str, NDArray[Any]]:
    """What it makes of the held-out pictures: images [N, H, W, 3] and bottlenecks [N, D]."""
    return seen_by(board, str(board.state / "backbone"), held_out)


def seen_by(board: Board, bundle: str, asked: list[Path]) -> dict[str, NDArray[Any]]:
    file = board.folder / "seen.npz"
    board.python(SEEING, bundle, file, *asked)
    with np.load(file) as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def answers(board: Board, held_out: list[Path]) -> list[dict[str, Any]]:
    """What it says of the held-out pictures."""
    found: list[dict[str, Any]] = board.lastlayer("classify", *held_out)
    return found


def answers_here(state: Path, pictures: Path, asked: list[Path]) -> list[dict[str, Any]]:
    """What this machine says, after it has learnt the same pictures."""
    for words in (["learn", pictures], ["retrain"]):
        lastlayer("--state", state, *words)
    found: list[dict[str, Any]] = json.loads(lastlayer("--state", state, "classify", *asked, "--json").stdout)
    return found


def test_it_has_what_the_package_depends_on(built: Path) -> None:
    ended = subprocess.run(
        ["dpkg-deb", "--field", str(built), "Depends"], check=True, stdout=subprocess.PIPE, text=True
    )
    needed = {each.split()[0] for each in ended.stdout.split(",")}
    assert {name for name in needed if name.startswith("python3")} == set(APT)


def test_it_has_the_versions_of_debian_12(board: Board) -> None:
    assert json.loads(board.python(VERSIONS)) == {
        "numpy": "1.24.2",
        "PIL": "9.4.0",
        "psutil": "5.9.4",
        "yaml": "6.0",
        "tqdm": "4.64.1",
        "h11": "0.14.0",
        "tflite_runtime": "2.14.0",
        "machine": "armv7l",
    }


def test_it_evaluates_what_it_has_learnt(board: Board, pictures: Path) -> None:
    figures = board.lastlayer("evaluate", pictures)
    assert (figures["images"], figures["failed"]) == (2 * LEARNT, 0)
    assert figures["top1"] == 1.0
    assert {phase["platform"] for phase in figures["phases"]} >= {"linux-armv7l-python3.11-tflite_runtime"}


def test_a_picture_decodes_to_the_same_pixels(seen: dict[str, NDArray[Any]], held_out: list[Path]) -> None:
    """Nearly: Pillow 9.4 and libjpeg-turbo 2.1 on NEON against those of today."""
    height, width = seen["images"].shape[1:3]
    here = np.array([decode(path.read_bytes(), width, height) for path in held_out]).astype(int)
    difference = np.abs(here - seen["images"])
    assert difference.max() <= 4 and difference.mean() < 0.2


def test_its_bottlenecks_are_those_of_reference_kernels(seen: dict[str, NDArray[Any]]) -> None:
    assert_as_reference(seen, DEFAULT)


@pytest.mark.parametrize("bundle", [name for name in shipped() if name != DEFAULT])
def test_the_other_networks_that_ship_run_there_too(board: Board, held_out: list[Path], bundle: str) -> None:
    assert_as_reference(seen_by(board, bundle, held_out[:4]), bundle)


def assert_as_reference(seen: dict[str, NDArray[Any]], bundle: str) -> None:
    """The optimized int8 kernels round differently on every kind of processor; the reference ones do not."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(str(load_bundle(bundle).model), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    for image, bottleneck in zip(seen["images"], seen["bottlenecks"], strict=True):
        interpreter.set_tensor(source["index"], image[np.newaxis])
        interpreter.invoke()
        difference = np.abs(interpreter.get_tensor(target["index"])[0].astype(int) - bottleneck)
        assert difference.max() <= 1 and difference.mean() < 0.05


def test_its_answers_are_those_of_x86_64(
    answers: list[dict[str, Any]], pictures: Path, held_out: list[Path], tmp_path: Path
) -> None:
    """A state that learns the same pictures here gives the same labels, and probabilities within 0.05."""
    here = answers_here(tmp_path / "state", pictures, held_out)
    for number, (expected, said) in enumerate(zip(here, answers, strict=True)):
        best, its = expected["predictions"][0], said["predictions"][0]
        assert its["label"] == best["label"] == ("china", "flower")[number % 2]
        assert its["probability"] == pytest.approx(best["probability"], abs=0.05)


def test_of_twelve_kinds_of_things_it_says_what_x86_64_says(installed: Path, shared: Path, tmp_path: Path) -> None:
    """Nine in ten answers at least are the same, and half of the probabilities within 0.05: int8 kernels differ."""
    (tmp_path / "learnt").mkdir()
    asked: list[Path] = []
    for folder in sorted(path for path in (shared / "data" / "transfer" / "desk_objects").iterdir() if path.is_dir()):
        shutil.copytree(folder, tmp_path / "learnt" / folder.name, ignore=lambda at, names: sorted(names)[8:])
        asked += sorted(folder.glob("*.jpg"))[-3:]
    there = Board(installed, tmp_path)
    there.lastlayer("learn", tmp_path / "learnt")
    there.lastlayer("retrain")
    said = there.lastlayer("classify", *asked)
    expected = answers_here(tmp_path / "here", tmp_path / "learnt", asked)
    pairs = [(one["predictions"][0], other["predictions"][0]) for one, other in zip(said, expected, strict=True)]
    same = np.mean([one["label"] == other["label"] for one, other in pairs])
    apart = np.median([abs(one["probability"] - other["probability"]) for one, other in pairs])
    assert same >= 0.9 and apart < 0.05


def test_its_state_reads_the_same_on_64_bits(
    board: Board, seen: dict[str, NDArray[Any]], answers: list[dict[str, Any]]
) -> None:
    """A card that is moved to a desktop: the examples are all there, and the head says the same."""
    with Cache.read(board.state / "cache") as cache:
        examples = cache.examples()
        assert (examples.count, examples.labels) == (2 * LEARNT, ("china", "flower"))
        rows = examples.read(np.arange(examples.count), np.empty((examples.count, examples.size), examples.dtype))
        assert not examples.rotten and rows.any(axis=1).all()
    head = HeadStore(board.state / "heads").load("1")
    probabilities = head.probabilities(seen["bottlenecks"]).max(axis=1)
    said = [result["predictions"][0]["probability"] for result in answers]
    np.testing.assert_allclose(probabilities, said, atol=1e-4)


@pytest.fixture
def daemon(board: Board, mosquitto: Mosquitto) -> Iterator[Daemon]:
    config = {"mqtt": {"host": mosquitto.host, "port": mosquitto.port, "node": "board"}}
    with Daemon(board.state, config, agent=board.agent, cwd=board.folder) as running:
        yield running


def emulated_children(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    found = psutil.Process(process.pid).children(recursive=True)
    return [child for child in found if Path(child.exe()).name == "qemu-arm"]


def test_it_serves_takes_labels_retrains_in_a_child_and_stops(
    daemon: Daemon, mosquitto: Mosquitto, held_out: list[Path]
) -> None:
    with Listener(mosquitto, "lastlayer/board/#") as listener:
        for number, path in enumerate(held_out):
            label = ("china", "flower")[number % 2]
            result = daemon.ask("POST", "/v1/frames?camera=door", path.read_bytes())
            assert (result["head"], result["predictions"][0]["label"]) == ("1", label)
            assert result["timings_ms"]["session_run"] > 0
            daemon.ask("POST", f"/v1/frames/{result['frame_id']}/label", {"label": label})
        told = listener.wait_for("lastlayer/board/result", count=len(held_out), timeout=PATIENCE_S)
        assert {result["camera"] for result in told} == {"door"}
        (timing, *_) = listener.wait_for("lastlayer/board/timing/session_run", timeout=PATIENCE_S)
        assert timing["platform"] == "linux-armv7l-python3.11-tflite_runtime"

        status = daemon.ask("POST", "/v1/retrain", expect=None)
        assert status["state"] == "running", status
        (child,) = until(lambda: emulated_children(daemon.process), PATIENCE_S)
        assert child.nice() == 10
        assert daemon.wait_retrained()["state"] == "done"
        (head, *_) = listener.wait_for("lastlayer/board/head", lambda head: head["version"] == "2")
        assert head["labels"] == ["china", "flower"]
        assert daemon.ask("GET", "/v1/status")["examples"] == 2 * LEARNT + len(held_out)
        result = daemon.ask("POST", "/v1/frames", held_out[0].read_bytes())
        assert (result["head"], result["predictions"][0]["label"]) == ("2", "china")

        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(PATIENCE_S) == 0
        listener.wait_for("lastlayer/board/availability", lambda said: said == "offline", timeout=PATIENCE_S)
