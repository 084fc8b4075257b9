"""A state that was made with a network which no longer ships: it goes on with its own copy, and says so."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from agent.errors import BundleError, MismatchError, StateError
from agent.learning.heads.store import HeadStore
from agent.state.state import existing_state, open_state
from agent.vision.bundle import DEFAULT, SHIPPED, load_bundle, write_bundle
from agent.vision.importing import import_model
from tests.conftest import write_class_folders
from tests.daemon import Daemon, lastlayer

NETWORKS = Path(__file__).parents[1] / "vision" / "networks"
RETIRED = "tinyresnet_96"


def bundle_named(name: str, folder: Path) -> Path:
    """A bundle of that name in a folder of its own in `folder`, of a small network."""
    bundle = folder / name
    import_model(NETWORKS / "mean_uint8.tflite", bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    write_bundle(bundle, (bundle / "model.tflite").read_bytes(), {**manifest, "name": name})
    return bundle


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory, photographs: list[np.ndarray]) -> Path:
    folder = tmp_path_factory.mktemp("old")
    bundle = bundle_named(RETIRED, folder)
    pictures = write_class_folders(folder / "pictures", photographs, 10)
    lastlayer("--state", folder / "state", "--backbone", bundle, "learn", pictures)
    lastlayer("--state", folder / "state", "retrain")
    shutil.rmtree(bundle)
    return folder / "state"


@pytest.fixture
def old(made_once: Path, tmp_path: Path) -> Path:
    """A state that has learnt with a network that shipped once; that is gone since."""
    return Path(shutil.copytree(made_once, tmp_path / "old"))


def test_it_starts_with_its_own_copy_and_says_once_how_to_change(old: Path, jpegs: list[bytes]) -> None:
    with Daemon(old) as daemon:
        assert daemon.ask("GET", "/v1/status")["backbone"] == RETIRED
        answer = daemon.ask("POST", "/v1/frames", jpegs[0])
        assert (answer["head"], daemon.ask("GET", "/v1/status")["examples"]) == ("1", 20)
    (said,) = (line for line in daemon.log.splitlines() if "no longer ships" in line)
    assert f"{old} was made with {RETIRED}" in said
    assert f"`lastlayer models import {DEFAULT} --use`" in said and "learnt again" in said


def test_a_configuration_that_names_it_still_starts(old: Path) -> None:
    with Daemon(old, {"backbone": RETIRED}) as daemon:
        assert daemon.ask("GET", "/v1/status")["backbone"] == RETIRED
    for name in (f"models/{RETIRED}", f"nowhere/{RETIRED}.tflite"):
        assert open_state(old, name).bundle.name == RETIRED


def test_the_way_to_what_ships_now_is_the_one_that_is_said_and_leads_back(old: Path, jpegs: list[bytes]) -> None:
    lastlayer("--state", old, "models", "import", DEFAULT, "--use")
    with Daemon(old, {"backbone": RETIRED}) as daemon:
        status = daemon.ask("GET", "/v1/status")
        assert (status["backbone"], status["examples"]) == (DEFAULT, 0)
        daemon.ask("POST", "/v1/frames", jpegs[0])
        assert "no longer ships" not in daemon.log
    lastlayer("--state", old, "models", "rollback")
    state = existing_state(old)
    assert (state.bundle.name, state.heads.active()) == (RETIRED, "1")


def test_another_name_is_refused_as_before(old: Path) -> None:
    with pytest.raises(MismatchError, match=f"made with the backbone {RETIRED}"):
        open_state(old, DEFAULT)
    with pytest.raises(BundleError, match="no bundle 'nowhere'"):
        open_state(old, "nowhere")


def test_a_network_that_ships_changed_under_its_name_is_not_mixed_with_what_was_learnt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    earlier = bundle_named(DEFAULT, tmp_path)
    open_state(tmp_path / "state", str(earlier))
    assert open_state(tmp_path / "state", DEFAULT).bundle == load_bundle(tmp_path / "state" / "backbone")
    assert "no longer ships" in caplog.text
    with pytest.raises(MismatchError):  # a path means what lies there
        open_state(tmp_path / "state", str(SHIPPED / DEFAULT))


def test_of_networks_that_ship_and_of_ones_own_nothing_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for number, backbone in enumerate((DEFAULT, str(bundle_named("mine", tmp_path)))):
        for _ in range(2):
            open_state(tmp_path / str(number), backbone)
    assert "no longer ships" not in caplog.text


def test_without_a_state_the_name_is_refused_and_those_that_ship_are_named(tmp_path: Path) -> None:
    ended = lastlayer("--state", tmp_path / "new", "--backbone", RETIRED, "run", expect=BundleError.exit_code)
    assert f"{RETIRED} no longer ships" in ended.stderr and DEFAULT in ended.stderr
    assert not (tmp_path / "new" / "backbone").exists()


@pytest.mark.parametrize("kept", ["cache", "heads"])
def test_a_state_that_has_lost_its_copy_is_not_begun_with_another(old: Path, kept: str) -> None:
    shutil.rmtree(old / "backbone")
    shutil.rmtree(old / ("heads" if kept == "cache" else "cache"))
    said = lastlayer("--state", old, "run", expect=StateError.exit_code).stderr
    assert f"{old / 'backbone'} is missing" in said and DEFAULT in said and "Traceback" not in said
    for opened in (open_state, existing_state):
        for named in (None, DEFAULT, RETIRED, str(NETWORKS / "gone.tflite")):
            with pytest.raises(StateError, match="backbone is missing"):
                opened(old, named)
    assert sorted(path.name for path in old.iterdir() if "backbone" in path.name) == []


def test_its_copy_can_be_put_back_and_nothing_is_lost(old: Path, tmp_path: Path) -> None:
    shutil.rmtree(old / "backbone")
    state = open_state(old, str(bundle_named(RETIRED, tmp_path)))
    assert (state.bundle.name, HeadStore(old / "heads").active()) == (RETIRED, "1")
    assert state.heads.load_for_service("1").labels == ("china", "flower")
    assert existing_state(old) == state


def test_doctor_says_all_of_it(old: Path, tmp_path: Path) -> None:
    def model(*words: object) -> dict[str, str]:
        told = json.loads(lastlayer("--state", old, *words, "doctor", "--json", expect=None).stdout)
        (found,) = (check for check in told["checks"] if check["name"] == "model")
        return dict(found)

    for words in ((), ("--backbone", RETIRED)):
        check = model(*words)
        assert (check["outcome"], "no longer ships" in check["found"]) == ("warn", True)
        assert f"models import {DEFAULT}" in check["advice"]
    assert model("--backbone", DEFAULT)["outcome"] == "fail", "as the service does"
    shutil.rmtree(old / "backbone")
    check = model()
    assert (check["outcome"], "is missing" in check["found"]) == ("fail", True)
    assert not (old / "backbone").exists()
