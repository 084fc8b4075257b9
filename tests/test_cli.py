"""The command line as it is typed."""

import json
import os
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.cache import Cache
from agent.errors import BusyError
from agent.records import SPLITS
from agent.vision.bundle import DEFAULT
from tests.conftest import write_class_folders
from tests.daemon import ROOT, Daemon, lastlayer, loaded_after

NETWORKS = Path(__file__).parent / "vision" / "networks"


def as_json(*words: object, expect: int = 0) -> Any:
    return json.loads(lastlayer(*words, "--json", expect=expect).stdout)


@pytest.fixture
def pictures(tmp_path: Path, photographs: list[np.ndarray]) -> Path:
    return write_class_folders(tmp_path / "pictures", photographs, 12)


def test_the_commands_of_the_readme(tmp_path: Path, pictures: Path) -> None:
    state = tmp_path / "state"
    learnt = as_json("--state", state, "learn", pictures)
    assert (learnt["added"], learnt["failed"], learnt["labels"]) == (24, 0, {"china": 12, "flower": 12})
    assert {"decode", "bottleneck", "cache_append", "file_access"} <= {phase["phase"] for phase in learnt["phases"]}

    head = as_json("--state", state, "retrain")
    assert (head["version"], head["labels"]) == ("1", ["china", "flower"])
    assert {"closed_form", "file_access", "activate"} <= {phase["phase"] for phase in head["phases"]}

    figures = as_json("--state", state, "evaluate", pictures)
    assert (figures["top1"], figures["images"], figures["labels"]) == (1.0, 24, ["china", "flower"])
    assert {"top5", "macro_recall", "ece", "per_class", "confusion", "phases"} <= figures.keys()

    one = pictures / "flower" / "003.jpg"
    result = as_json("--state", state, "classify", one, "--top", "1")
    assert [p["label"] for p in result["predictions"]] == ["flower"]
    results = as_json("--state", state, "classify", one, pictures / "china" / "003.jpg")
    assert [r["predictions"][0]["label"] for r in results] == ["flower", "china"]
    assert as_json("--state", state, "heads")["active"] == "1"
    assert "* in service" in lastlayer("--state", state, "heads").stdout


def test_a_folder_learnt_twice_adds_nothing(tmp_path: Path, pictures: Path) -> None:
    state = tmp_path / "state"
    first = as_json("--state", state, "learn", pictures)
    size = sum(path.stat().st_size for path in (state / "cache").iterdir())
    second = as_json("--state", state, "learn", pictures)
    assert (second["added"], second["known"], second["labels"]) == (0, 24, first["labels"])
    assert sum(path.stat().st_size for path in (state / "cache").iterdir()) == size


def test_a_picture_moved_to_another_class_is_relabelled(tmp_path: Path, pictures: Path) -> None:
    state = tmp_path / "state"
    lastlayer("--state", state, "learn", pictures)
    shutil.move(pictures / "china" / "000.jpg", pictures / "flower" / "moved.jpg")
    learnt = as_json("--state", state, "learn", pictures)
    assert (learnt["added"], learnt["relabelled"], learnt["labels"]) == (0, 1, {"china": 11, "flower": 13})


def test_a_bad_picture_is_reported_and_the_rest_is_learnt(tmp_path: Path, pictures: Path) -> None:
    (pictures / "china" / "text.jpg").write_text("hello")
    whole = (pictures / "china" / "001.jpg").read_bytes()
    (pictures / "china" / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    (pictures / "china" / "gone.jpg").symlink_to("nowhere.jpg")  # no file: passed over
    ended = lastlayer("--state", tmp_path / "state", "learn", pictures, "--json")
    learnt = json.loads(ended.stdout)
    assert (learnt["added"], learnt["failed"]) == (24, 2)
    assert "text.jpg: not learnt: not a picture" in ended.stderr
    assert "torn.jpg: not learnt" in ended.stderr


def test_a_class_of_which_no_picture_is_left_cannot_be_missed(tmp_path: Path, pictures: Path) -> None:
    shutil.copytree(pictures / "china", pictures / "glass", copy_function=lambda a, b: Path(f"{b}.heic").touch())
    (pictures / "torn").mkdir()
    (pictures / "torn" / "a.jpg").write_text("hello")
    (pictures / "flower" / "b.gif").write_text("GIF89a")
    ended = lastlayer("--state", tmp_path / "state", "learn", pictures, "--json", expect=3)
    learnt = json.loads(ended.stdout)
    assert learnt["labels"] == {"china": 12, "flower": 12}  # the others are learnt
    assert {(one["class"], one["count"]) for one in learnt["left_out"]} == {("glass", 12), ("flower", 1), ("torn", 1)}
    assert learnt["missing"].keys() == {"glass", "torn"}
    last = ended.stderr.splitlines()[-1]
    assert "no picture is left of 2 classes: glass: .heic is not read" in last and "--allow-missing" in last
    said = lastlayer("--state", tmp_path / "state", "learn", pictures, "--allow-missing")
    assert "warning: no picture is left of 2 classes" in said.stderr
    assert "left out: 12 of glass: .heic is not read: make it a JPEG or PNG" in said.stdout
    lastlayer("--state", tmp_path / "state", "retrain")
    evaluated = lastlayer("--state", tmp_path / "state", "evaluate", pictures, "--json")
    assert json.loads(evaluated.stdout)["missing"].keys() == {"glass", "torn"}
    assert "warning: no picture is left of 2 classes" in evaluated.stderr


def test_however_many_pictures_are_bad_little_is_said(tmp_path: Path, pictures: Path) -> None:
    for number in range(200):
        (pictures / "china" / f"bad {number}.jpg").write_text(f"hello {number}")
        (pictures / "china" / f"other {number}.tif").touch()
    ended = lastlayer("--state", tmp_path / "state", "learn", pictures)
    assert ended.stderr.count("not learnt") == 20
    assert len(ended.stdout.splitlines()) < 60


def test_val_and_test_rows_of_a_list_are_never_trained_on(tmp_path: Path, pictures: Path) -> None:
    rows = ["file,class,split"]
    for label in ("china", "flower"):
        rows += [f"{label}/{n:03d}.jpg,{label},{'train' if n < 6 else 'val' if n < 9 else 'test'}" for n in range(12)]
        rows.append(f"{label}/007.jpg,{label},train")  # the same picture once more: val stands
    (pictures / "split.csv").write_text("\n".join(rows))
    state = tmp_path / "state"
    learnt = as_json("--state", state, "learn", pictures / "split.csv")
    assert (learnt["added"], learnt["known"]) == (24, 2)
    assert as_json("--state", state, "retrain")["examples"] == 12
    for split, images in [("train", 14), ("val", 6), ("test", 6)]:
        evaluated = as_json("--state", state, "evaluate", pictures / "split.csv", "--split", split)
        assert evaluated["images"] == images


def test_a_folder_is_evaluated_by_the_splits_that_it_was_learnt_with(
    tmp_path: Path, photographs: list[np.ndarray]
) -> None:
    pictures, state = write_class_folders(tmp_path / "pictures", photographs, 40), tmp_path / "state"
    lastlayer("--state", state, "learn", pictures)
    trained = as_json("--state", state, "retrain")["examples"]
    with Cache.read(state / "cache") as cache:
        splits = cache.examples().splits
        counts = {split: int((splits == number).sum()) for number, split in enumerate(SPLITS)}
    assert counts["train"] == trained
    assert counts["val"] + counts["test"] > 0
    for split in (split for split, count in counts.items() if count):
        assert as_json("--state", state, "evaluate", pictures, "--split", split)["images"] == counts[split]


def test_the_settings_of_the_study_can_be_asked_for(state: Path) -> None:
    study = ["--solver", "adam", "--learning-rate", "0.01", "--epsilon", "0.1", "--batch", "100", "--steps", "300"]
    ended = lastlayer("--state", state, "retrain", *study, "--validate-every", "100", "--json")
    assert json.loads(ended.stdout)["solver"] == "adam, learning rate 0.01, epsilon 0.1"
    progress = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]
    assert [p["step"] for p in progress if p.get("stage") == "adam"] == [100, 200, 300]


def test_an_unreadable_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "gone", tmp_path / "empty"):
        ended = lastlayer("--state", tmp_path / "state", "learn", source, expect=3)
        assert str(source) in ended.stderr
    assert not (tmp_path / "state").exists()


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x" / "a").mkdir(parents=True)
    (tmp_path / "x" / "a" / "b.jpg").write_text("hello")
    assert "not one picture" in lastlayer("--state", tmp_path / "state", "learn", tmp_path / "x", expect=3).stderr


def test_retraining_with_no_examples_or_one_class_is_refused(tmp_path: Path, pictures: Path) -> None:
    state = tmp_path / "state"
    assert "holds no examples" in lastlayer("--state", state, "retrain", expect=6).stderr
    shutil.rmtree(pictures / "flower")
    lastlayer("--state", state, "learn", pictures)
    assert "at least two labels" in lastlayer("--state", state, "retrain", expect=6).stderr


def test_what_needs_a_state_says_how_to_make_one(tmp_path: Path, pictures: Path) -> None:
    one = pictures / "china" / "000.jpg"
    assert "learn PICTURES" in lastlayer("--state", tmp_path / "no", "classify", one, expect=5).stderr
    lastlayer("--state", tmp_path / "state", "learn", pictures)
    assert "retrain" in lastlayer("--state", tmp_path / "state", "evaluate", pictures, expect=5).stderr
    classified = as_json("--state", tmp_path / "state", "classify", one)
    assert (classified["unknown"], classified["predictions"]) == (True, [])


@pytest.mark.parametrize(
    ("backbone", "complaint"),
    [
        ("two_inputs.tflite", "one input"),
        ("gone.tflite", "no such file"),
        ("no_such_bundle", DEFAULT),
        ("x" * 300, "name too long"),
        ("x" * 300 + ".tflite", "name too long"),
    ],
)
def test_a_bad_backbone_is_refused(tmp_path: Path, pictures: Path, backbone: str, complaint: str) -> None:
    source = NETWORKS / backbone if backbone.endswith(".tflite") else backbone
    ended = lastlayer("--state", tmp_path / "state", "--backbone", source, "learn", pictures, expect=4)
    assert complaint in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_state_made_with_another_backbone_is_refused(state: Path, pictures: Path) -> None:
    ended = lastlayer("--state", state, "--backbone", NETWORKS / "mean_uint8.tflite", "learn", pictures, expect=5)
    assert "must not be mixed" in ended.stderr
    ended = lastlayer("--state", state, "--input-range", "-1", "1", "learn", pictures, expect=5)
    assert "input range" in ended.stderr
    ended = lastlayer("--state", state, "--backbone", "x" * 300, "learn", pictures, expect=4)
    assert "name too long" in ended.stderr
    lastlayer("--state", state, "--backbone", DEFAULT, "learn", pictures)


def test_a_float_backbone_learns_too(tmp_path: Path, pictures: Path) -> None:
    words = ["--state", tmp_path / "state", "--backbone", NETWORKS / "mean_float32.tflite", "--input-range", "-1", "1"]
    assert as_json(*words, "learn", pictures)["added"] == 24
    as_json("--state", tmp_path / "state", "retrain")
    assert as_json("--state", tmp_path / "state", "evaluate", pictures)["top1"] > 0.8  # by color alone


def test_a_damaged_backbone_in_the_state_is_refused(state: Path, jpegs: list[bytes], tmp_path: Path) -> None:
    model = state / "backbone" / "model.tflite"
    model.write_bytes(model.read_bytes()[:-1])
    (tmp_path / "x.jpg").write_bytes(jpegs[0])
    assert "sha256" in lastlayer("--state", state, "classify", tmp_path / "x.jpg", expect=4).stderr


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may write anywhere, no setpriv")
def test_a_read_only_state_is_refused(state: Path, pictures: Path) -> None:
    """Seeing still works; learning says what is wrong."""
    state.chmod(0o555)
    for path in state.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    overriding = "-dac_override,-dac_read_search"  # what lets root write where nobody may
    drop = ["setpriv", f"--bounding-set={overriding}", f"--inh-caps={overriding}"] if os.geteuid() == 0 else []

    def run(*words: object) -> "subprocess.CompletedProcess[str]":
        command = [*drop, sys.executable, "-m", "agent", "--state", str(state), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)

    seen = run("classify", pictures / "china" / "000.jpg")
    assert seen.returncode == 0, seen.stderr
    for words in (["learn", pictures], ["retrain"], ["run"]):
        ended = run(*words)
        assert ended.returncode == 5, ended.stderr
        assert "Permission denied" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_learning_beside_a_daemon_is_refused_and_nothing_is_lost(state: Path, pictures: Path) -> None:
    with Daemon(state) as daemon:
        ended = lastlayer("--state", state, "learn", pictures, expect=BusyError.exit_code)
        assert "push pictures to the running daemon" in ended.stderr
        assert daemon.ask("GET", "/v1/status")["examples"] == 80


def test_a_port_in_use_is_refused(state: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (tmp_path / "c.yaml").write_text(f"http:\n  port: {taken.getsockname()[1]}\n")
        ended = lastlayer("--state", state, "run", "--config", tmp_path / "c.yaml", expect=7)
    assert "is in use" in ended.stderr


def test_a_bad_configuration_is_refused_with_its_place(state: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("http:\n  port: 80 80\nmqtt:\n  node: no\n")
    ended = lastlayer("--state", state, "run", "--config", tmp_path / "c.yaml", expect=2)
    assert f"{tmp_path / 'c.yaml'}:2" in ended.stderr
    assert "http.port" in ended.stderr


@pytest.mark.parametrize(
    "command", ["", "learn", "retrain", "evaluate", "classify", "heads", "run", "bench", "demo", "push"]
)
def test_help_fits_on_a_screen_and_shows_an_example(command: str) -> None:
    text = lastlayer(*command.split(), "--help").stdout
    assert "example:" in text
    assert len(text.splitlines()) <= 50


def test_wrong_usage_ends_with_2() -> None:
    for words in ([], ["paint"], ["learn"], ["evaluate", "x", "--split", "some"], ["heads", "activate"]):
        assert "usage:" in lastlayer(*words, expect=2).stderr


def test_results_go_to_stdout_alone(state: Path, pictures: Path) -> None:
    ended = lastlayer("--state", state, "evaluate", pictures, "--json")
    assert json.loads(ended.stdout)["images"] == 24


def test_importing_the_agent_loads_neither_the_trainer_nor_its_frameworks() -> None:
    everything = """
import pkgutil, importlib, agent
for module in pkgutil.walk_packages(agent.__path__, "agent."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
    loaded = loaded_after(everything)
    assert {"agent.commands.retrain", "numpy"} <= loaded
    assert not loaded & {"trainer", "tensorflow", "torch", "keras", "jax", "sklearn"}


def test_the_help_loads_no_numerics() -> None:
    loaded = loaded_after("from agent.cli import main; main(['--help'])")
    assert "agent.commands" in loaded
    assert not loaded & {"numpy", "PIL", "paho", "psutil"}


def test_two_people_may_retrain_at_once(state: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda seed: lastlayer("--state", state, "retrain", "--seed", seed), (1, 2)))
    heads = as_json("--state", state, "heads")
    assert [head["version"] for head in heads["heads"]] == ["1", "2", "3"]
    assert heads["active"] in ("2", "3")


def test_what_a_list_names_wrongly_is_counted_and_the_rest_is_learnt(tmp_path: Path, pictures: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "sparse.jpg").touch()
    os.truncate(tmp_path / "sparse.jpg", 20 << 30)
    names = [*sorted(pictures.glob("china/*.jpg")), "fifo.jpg", "/dev/zero", "sparse.jpg", "gone.jpg", "pictures"]
    (tmp_path / "list.csv").write_text("file,class\n" + "".join(f"{name},china\n" for name in names))
    ended = lastlayer("--state", tmp_path / "state", "learn", tmp_path / "list.csv", "--json")
    learnt = json.loads(ended.stdout)
    assert (learnt["added"], learnt["failed"]) == (len(names) - 5, 5)
    assert f"{tmp_path}/fifo.jpg: not learnt: it is a FIFO, not a regular file" in ended.stderr
    assert "/dev/zero: not learnt: it is a device, not a regular file" in ended.stderr
    assert "sparse.jpg: not learnt: at most 67108864 bytes are read here, it has 21474836480 bytes" in ended.stderr


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_names_and_labels_in_any_letters_are_said_on_any_terminal(
    tmp_path: Path, photographs: list[np.ndarray], encoding: str
) -> None:
    folder = tmp_path / "pictures"
    write_class_folders(folder, photographs, 2)
    (folder / "china").rename(folder / "größe 大 😀")
    odd = os.fsdecode(os.fsencode(folder) + "/flower/大".encode() + b"\xff\n\x1b[2J")
    shutil.copy(next(folder.glob("flower/*.jpg")), f"{odd}.jpg")
    Path(f"{odd}.torn.jpg").write_bytes(b"torn")
    state = tmp_path / "state"
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": encoding}
    options: dict[str, Any] = {"env": environment, "encoding": encoding}
    ended = lastlayer("--state", state, "learn", folder, "--json", **options)
    assert json.loads(ended.stdout)["labels"] == {"größe 大 😀": 2, "flower": 2}  # one is there twice
    assert r"\xff\n\x1b[2J.torn.jpg: not learnt: not a picture" in ended.stderr
    lastlayer("--state", state, "retrain", **options)
    for words in (["evaluate", folder], ["classify", f"{odd}.jpg", next(folder.glob("flower/*.jpg"))]):
        told = lastlayer("--state", state, *words, **options)
        said = json.loads(lastlayer("--state", state, *words, "--json", **options).stdout)
        assert "\x1b" not in told.stdout + told.stderr
        assert "größe 大 😀".encode(encoding, "backslashreplace").decode(encoding) in told.stdout
        assert "größe 大 😀" in str(said)
    assert said[0]["file"].endswith(r"大\xff\n\x1b[2J.jpg")


def test_commands_name_a_file_that_is_none_and_do_not_wait_for_it(tmp_path: Path, pictures: Path) -> None:
    state, fifo, tflite = tmp_path / "state", tmp_path / "fifo.parcel", tmp_path / "fifo.tflite"
    lastlayer("--state", state, "learn", pictures)
    os.mkfifo(fifo)
    os.mkfifo(tflite)
    for words, code in (
        (["classify", fifo], 3),
        (["learn", fifo], 3),
        (["evaluate", fifo], 5),  # there is no head yet
        (["heads", "take", fifo], 3),
        (["models", "import", fifo], 4),
        (["models", "import", tflite], 4),
        (["run", "--config", fifo], 2),
    ):
        ended = lastlayer("--state", state, *words, expect=code)
        assert "Traceback" not in ended.stderr


def test_a_network_of_any_size_is_told_its_size(tmp_path: Path, jpegs: list[bytes]) -> None:
    network = Path(__file__).parent / "vision" / "networks" / "any_size.tflite"
    pictures = tmp_path / "pictures"
    for label in ("one", "other"):
        (pictures / label).mkdir(parents=True)
        (pictures / label / "1.jpg").write_bytes(jpegs[label == "other"])
    state = tmp_path / "state"
    refused = lastlayer("--state", state, "--backbone", network, "learn", pictures, expect=4).stderr
    assert "any_size.tflite: takes pictures of any size" in refused
    assert "--size 224" in refused
    lastlayer("--state", state, "--backbone", network, "--size", "40x30", "learn", pictures)
    assert "40 x 30" in lastlayer("--state", state, "models").stdout
    lastlayer("--state", state, "learn", pictures)
    assert (
        "40 x 30 pixels, not 30 x 30" in lastlayer("--state", state, "--size", 30, "learn", pictures, expect=5).stderr
    )
    assert "is no size" in lastlayer("--state", state, "--size", "0", "learn", pictures, expect=2).stderr

    names = set()
    for words in (("--size", 30), ("--size", 31), ("--size", 31, "--input-range", -1, 1)):  # each a backbone of its own
        said = lastlayer("--state", state, "models", "import", network, *words, "--json").stdout
        names.add(json.loads(said)["bundle"])
    assert len(names) == 3
    again = lastlayer("--state", state, "models", "import", network, "--size", 31, "--json").stdout
    assert json.loads(again)["bundle"] in names
