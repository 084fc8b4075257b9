"""What somebody sends who means no good is refused in words, and nothing of it is kept."""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from agent.errors import BundleError, DamagedError, InputError, MismatchError, ParcelError
from agent.learning.heads.store import HeadStore
from agent.learning.solving.head import Form, Head
from agent.records import plain_json
from agent.reporting.timing import Timings
from agent.state.arrivals import take_head, take_sent_backbone
from agent.state.parcels import SentHead, pack_head, unpack_head
from agent.state.state import form_of
from agent.vision.bundle import DEFAULT, load_bundle
from tests.daemon import PATIENCE_S, Daemon, lastlayer
from tests.mosquitto import Listener, Mosquitto, retained
from tests.state import wicked
from tests.waiting import until

SHIPPED = load_bundle(DEFAULT)
FORM = form_of(SHIPPED)
NETWORKS = Path(__file__).parents[1] / "vision" / "networks"
HEADS, BACKBONES = wicked.head_parcels(FORM), wicked.backbone_parcels(SHIPPED, FORM)
MOST_BYTES = 400 << 20  # of the daemon, and of each child

# One of each kind, over each door; all others are refused by the same lines.
SENT_HEADS = (
    "head: one value too many",
    "head: no labels",
    "head: nan",
    "head: bomb",
    "head: crowded",
    "head: labels a lone surrogate",
    "report: labels with a surrogate",
    "report: a solver with a surrogate",
    "header: many lists",
    "header: deep",
)
SENT_BACKBONES = ("head: bomb", "head: one value too many", "a torn model", "a name with a surrogate")


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A state with a backbone and nothing else."""
    shutil.copytree(SHIPPED.model.parent, tmp_path / "fresh" / "backbone")
    return tmp_path / "fresh"


def take(folder: Path, parcel: bytes) -> str:
    return take_head(folder, unpack_head(parcel), 0.02, Timings(node="test", runtime="numpy"))[0]


def good_head(value: float = 0.0) -> Head:
    weights = np.full((FORM.size, 2), value, np.float32)
    return Head(wicked.LABELS, weights, np.array([1, 0], np.float32), FORM.backbone_id)


def install(state: Path, stored: bytes, report: Any = None, version: str = "1") -> None:
    """As an older version, which asked for nothing, would have stored it."""
    folder = state / "heads" / version
    folder.mkdir(parents=True)
    (folder / "head.npz").write_bytes(stored)
    (folder / "report.json").write_text(json.dumps({"version": version, **(report or {})}))
    with (state / "heads" / "active").open("a") as file:
        file.write(f"{version}\n")


def test_the_builders_make_heads_that_are_taken_where_nothing_is_wrong(fresh: Path) -> None:
    assert take(fresh, wicked.parcel("head", {"report": {}}, wicked.head(FORM))) == "1"
    assert HeadStore(fresh / "heads").active() == "1"


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_cannot_serve_is_refused_before_it_is_stored(fresh: Path, name: str) -> None:
    with pytest.raises(ParcelError) as refusal:
        take(fresh, HEADS[name]())
    assert 10 < len(str(refusal.value)) < 400
    assert str(refusal.value).isprintable()
    assert not (fresh / "heads").exists()


def test_so_it_is_where_there_are_examples(state: Path) -> None:
    for name in ("head: one value too many", "head: nan", "head: labels numbers"):
        with pytest.raises(ParcelError):
            take(state, HEADS[name]())
    assert HeadStore(state / "heads").versions() == ["1"]


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_that_cannot_be_used_is_refused_and_leaves_nothing(fresh: Path, name: str) -> None:
    with pytest.raises((InputError, BundleError)) as refusal:
        take_sent_backbone(fresh, BACKBONES[name]())
    assert str(refusal.value).isprintable()
    assert not list(fresh.glob("generations/*"))


def test_what_a_retraining_makes_and_cannot_serve_is_not_stored_either(tmp_path: Path) -> None:
    store = HeadStore(tmp_path / "heads", form=FORM)
    with pytest.raises(DamagedError, match="not finite"):
        store.add(good_head(np.nan), {})
    with pytest.raises(MismatchError, match=str(FORM.size)):
        HeadStore(tmp_path / "heads", form=Form(FORM.backbone_id, FORM.size + 1)).add(good_head(), {})
    assert store.versions() == []


def test_the_heads_of_older_versions_are_read_in_either_order_of_their_values() -> None:
    weights = np.arange(FORM.size * 2, dtype=np.float32).reshape(FORM.size, 2)
    for order in (weights, np.asfortranarray(weights)):
        again = Head.from_bytes(wicked.head(FORM, weights=order))
        np.testing.assert_array_equal(again.weights, weights)


def test_its_own_version_labels_and_backbone_win_over_what_a_report_says(fresh: Path) -> None:
    lies = {"version": "3", "labels": ["x"], "backbone_id": "y", "gate": {"accepted": False, "reason": "no"}}
    assert take(fresh, pack_head(SentHead(good_head(), {**lies, "solver": "lda"}))) == "1"
    store = HeadStore(fresh / "heads")
    (known,) = store.listing().heads
    assert (known["version"], known["labels"], known["backbone_id"]) == ("1", ["china", "flower"], FORM.backbone_id)
    assert (known["solver"], known["accepted"], store.report("1")["version"]) == ("lda", True, "1")


def test_so_it_does_for_one_that_an_older_version_took(fresh: Path) -> None:
    install(fresh, good_head().to_bytes(), {"version": "3"})
    store = HeadStore(fresh / "heads")
    assert [head["version"] for head in store.listing().heads] == ["1"]
    assert store.report("1")["version"] == "1"


@pytest.mark.parametrize("name", wicked.REPORTS)
def test_a_report_on_flash_that_says_what_nobody_can_show_is_damaged(fresh: Path, name: str) -> None:
    report = wicked.REPORTS[name]
    install(fresh, good_head().to_bytes(), report if isinstance(report, dict) else {"labels": report, "solver": 1})
    install(fresh, good_head().to_bytes(), {"solver": "lda"}, "2")
    store = HeadStore(fresh / "heads")
    first, second = store.listing().heads
    json.dumps([first, second], ensure_ascii=False, allow_nan=False).encode()
    assert second["solver"] == "lda"
    with pytest.raises(DamagedError, match="damaged"):
        store.report("1")
    lastlayer("--state", fresh, "heads")
    lastlayer("--state", fresh, "heads", "show", "1", expect=5)


@pytest.mark.parametrize(
    "text", [b"[" * 17 + b"]" * 17, b"1" * 5000, b'{"a":1,"a":2}', b'"\\ud800"', b"1e999", b"NaN", b"\xff", b"9" * 19]
)
def test_json_of_which_nobody_knows_the_end_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="."):
        plain_json(text)


def test_json_as_people_write_it_is_read() -> None:
    value = {"a": [1, -2.5, None, True, "é😀\ud83d".encode("utf-16", "surrogatepass").decode("utf-16", "replace")]}
    assert plain_json(json.dumps(value).encode()) == value
    assert plain_json(b"[" * 16 + b"]" * 16)


# The daemon


@pytest.mark.parametrize("name", ["a solver with a surrogate", "a solver of lines", "a top-1 that is text"])
def test_what_a_head_says_of_itself_breaks_nothing_that_tells_of_it(
    mosquitto: Mosquitto, fresh: Path, jpegs: list[bytes], name: str
) -> None:
    install(fresh, good_head().to_bytes(), wicked.REPORTS[name])
    config = {"mqtt": {"host": mosquitto.host, "port": mosquitto.port, "node": "board"}}
    with Daemon(fresh, config) as daemon:
        assert daemon.ask("POST", "/v1/frames", jpegs[0])["head"] == "1"
        (known,) = daemon.ask("GET", "/v1/heads")["heads"]
        assert (known["version"], known["labels"]) == ("1", ["china", "flower"])
        assert "damaged" in known["error"]
        assert "damaged" in daemon.ask("GET", "/v1/heads/1", expect=409)["error"]
        with urllib.request.urlopen(f"{daemon.url}/metrics", timeout=PATIENCE_S) as answer:
            assert b'lastlayer_head{version="1",solver=""} 1' in answer.read().replace(b"_info", b"")
        assert retained(mosquitto, "lastlayer/board/head")["version"] == "1"
        assert "Traceback" not in daemon.log


def peak_bytes(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


@pytest.mark.parametrize("name", ["one value too many", "no labels", "nan", "answers beyond float32", "labels numbers"])
def test_a_head_that_cannot_serve_ends_no_start(fresh: Path, jpegs: list[bytes], name: str) -> None:
    install(fresh, wicked.heads(FORM)[name]())
    with Daemon(fresh) as daemon:
        assert daemon.ask("POST", "/v1/frames", jpegs[0])["unknown"] is True
        status = daemon.ask("GET", "/v1/status")
        assert status["head"] is None
        assert status["head_error"] == daemon.ask("GET", "/v1/heads")["error"]
        assert daemon.ask("POST", "/v1/heads/1/activate?force=1", expect=409)["error"]
        until(lambda: daemon.ask("GET", "/v1/timings"), PATIENCE_S)
        assert daemon.log.count("cannot be put into service") == 1
        assert "head 1 cannot serve" in lastlayer("--state", fresh, "heads", expect=5).stderr
        said = lastlayer("doctor", "--state", fresh, "--json", expect=1).stdout
        (check,) = [each for each in json.loads(said)["checks"] if each["name"] == "head"]
        assert check["outcome"] == "fail"
        assert daemon.ask("POST", "/v1/heads/rollback") == {"active": None}
        assert daemon.ask("GET", "/v1/heads")["active"] is None
        assert "Traceback" not in daemon.log


def test_a_rollback_never_leads_onto_a_head_that_cannot_serve(fresh: Path) -> None:
    install(fresh, good_head().to_bytes())
    install(fresh, wicked.heads(FORM)["one value too many"](), version="2")
    install(fresh, good_head().to_bytes(), version="3")
    ended = lastlayer("--state", fresh, "heads", "rollback", "--json")
    assert json.loads(ended.stdout) == {"active": "1"}
    assert "head 2 is passed over" in ended.stderr
    assert (
        f"{FORM.size + 1} values" in lastlayer("--state", fresh, "heads", "activate", "2", "--force", expect=5).stderr
    )


@pytest.mark.slow
def test_wicked_parcels_over_http_are_refused_and_take_no_memory(fresh: Path, jpegs: list[bytes]) -> None:
    with Daemon(fresh) as daemon:
        process = psutil.Process(daemon.process.pid)
        for path, parcels, names in (
            ("/v1/heads", HEADS, SENT_HEADS),
            ("/v1/models", BACKBONES, SENT_BACKBONES),
        ):
            for name in names:
                assert daemon.ask("POST", path, parcels[name](), expect=400)["error"], name
        assert daemon.ask("GET", "/v1/heads") == {"active": None, "heads": []}
        assert daemon.ask("GET", "/v1/models")["models"] == ["first"]
        assert daemon.ask("POST", "/v1/frames", jpegs[0])["unknown"] is True
        assert peak_bytes(process) < MOST_BYTES // 2, "nothing is opened in the daemon"
        assert "Traceback" not in daemon.log


def test_so_they_are_over_mqtt(mosquitto: Mosquitto, fresh: Path, jpegs: list[bytes]) -> None:
    config = {"mqtt": {"host": mosquitto.host, "port": mosquitto.port, "node": "board"}}
    with Daemon(fresh, config) as daemon, Listener(mosquitto, "lastlayer/board/exchanged/#") as listener:
        retained(mosquitto, "lastlayer/board/availability")
        sent = {"head": HEADS["head: bomb"](), "backbone": BACKBONES["head: bomb"]()}
        for what, parcel in sent.items():
            listener.publish(f"lastlayer/board/exchange/{what}/{what}", parcel)
            answer = listener.wait_for(f"lastlayer/board/exchanged/{what}")[0]
            assert (answer["ok"], bool(answer["error"])) == (False, True)
        assert daemon.ask("POST", "/v1/frames", jpegs[0])["unknown"] is True
        assert peak_bytes(psutil.Process(daemon.process.pid)) < MOST_BYTES // 2


def test_a_command_that_opens_a_parcel_has_memory_for_one_of_its_size() -> None:
    program = """
from agent.errors import ParcelError
from agent.state.parcels import memory_for
try:
    with memory_for(b"1" * 1000):
        bytearray(300 << 20)
except ParcelError as error:
    print(error)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "1000 bytes" in ended.stdout


def test_a_foreign_head_is_its_senders_business(fresh: Path) -> None:
    foreign = Head(wicked.LABELS, np.zeros((FORM.size, 2), np.float32), np.zeros(2, np.float32), "f" * 32)
    with Daemon(fresh) as daemon:
        error = daemon.ask("POST", "/v1/heads", pack_head(SentHead(foreign, {})), expect=400)["error"]
    assert "another backbone" in error


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "something").write_text("in it")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "not text": lambda path: path.write_bytes(b"\xff\xfe\n"),
    "no numbers": lambda path: path.write_text("one\n"),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(4096)),
    "a number without end": lambda path: path.write_text("1" * 5000),
    "a version that is gone": lambda path: path.write_text("7\n"),
    "a folder": _folder,
    "a FIFO": os.mkfifo,
    "without end": lambda path: path.symlink_to("/dev/zero"),
    "too large": lambda path: path.write_text("1\n" * 100_000),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_pointer_is_said_and_an_activation_mends_it(fresh: Path, jpegs: list[bytes], damage: str) -> None:
    install(fresh, good_head().to_bytes(), {"solver": "lda"})
    active = fresh / "heads" / "active"
    active.unlink()
    DAMAGES[damage](active)
    ended = lastlayer("--state", fresh, "heads", expect=5)
    assert "lda" in ended.stdout
    assert len(ended.stderr.splitlines()) == 1
    with Daemon(fresh) as daemon:
        listed = daemon.ask("GET", "/v1/heads")
        assert [head["version"] for head in listed["heads"]] == ["1"]
        assert "activate" in listed["error"]
        daemon.ask("GET", "/v1/status")
        daemon.ask("POST", "/v1/heads/rollback", expect=200 if "gone" in damage else 409)
        assert daemon.ask("POST", "/v1/heads/1/activate") == {"active": "1"}
        assert daemon.ask("GET", "/v1/heads")["active"] == "1"
        assert "error" not in daemon.ask("GET", "/v1/heads")
        assert daemon.ask("POST", "/v1/frames", jpegs[0])["head"] == "1"
        assert "Traceback" not in daemon.log
