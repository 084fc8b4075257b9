"""The checks of the tasks, on real states."""

from pathlib import Path

import numpy as np
import pytest

from agent.config import Config, parse_config
from agent.doctor import tasks as doctor
from agent.doctor.checks import Check
from agent.learning.heads.store import HeadStore
from agent.learning.solving.head import Head
from agent.records import Example
from agent.reporting.announced import Announced, Memory
from agent.reporting.discovery import Entity
from agent.state import generations
from agent.state.arrivals import take_backbone
from agent.state.state import State, open_state
from agent.state.tasks import root_of, way
from tests.daemon import ROOT

NETWORKS = ROOT / "tests/vision/networks"
UINT8, INT8 = (str(NETWORKS / f"mean_{kind}.tflite") for kind in ("uint8", "int8"))
YARD = "views: [{camera: yard}]"


def asked(*tasks: str, others: str = "") -> Config:
    """A configuration with tasks, each as one line, such as `gate: {on: open}`."""
    return parse_config("\n".join([f"backbone: {UINT8}", others, "tasks:", *(f"  {task}" for task in tasks)]), "c.yaml")


def learn(root: Path, *labels: str, network: str = UINT8) -> State:
    """A task with an example of each label."""
    state = open_state(root, network)
    backbone = state.backbone()
    bottleneck = np.zeros(backbone.size, backbone.dtype)
    with state.cache(backbone) as cache:
        cache.append([Example(f"{number:016x}", label, bottleneck, 1) for number, label in enumerate(labels)])
    return state


def put_into_service(state: State, *labels: str) -> None:
    backbone = state.backbone()
    weights, bias = np.zeros((backbone.size, len(labels)), np.float32), np.zeros(len(labels), np.float32)
    heads: HeadStore = state.heads
    heads.activate(heads.add(Head(labels, weights, bias, backbone.backbone_id), {"solver": "sgd"}))


def checks(config: Config, root: Path, name: str) -> list[Check]:
    return [check for check in doctor.tasks(config, root, config.backbone) if check.name == name]


def check(config: Config, root: Path, name: str) -> Check:
    (found,) = checks(config, root, name)
    return found


def kept(config: Config, root: Path) -> Check:
    (found,) = doctor.kept(root, config.tasks, said=True)
    return found


def test_without_tasks_its_network_and_its_head_are_told(tmp_path: Path) -> None:
    config = parse_config(f"backbone: {UINT8}", "c.yaml")
    fresh = doctor.tasks(config, tmp_path, UINT8)
    assert [(each.name, each.outcome) for each in fresh] == [("model", "ok"), ("head", "ok")]
    assert fresh[0].found.startswith(f"{UINT8}: ")
    put_into_service(learn(tmp_path, "open", "closed"), "open", "closed")
    assert [each.found for each in doctor.tasks(config, tmp_path, UINT8)][1:] == ["1, of 2 labels"]


def test_each_task_has_its_own_lines(tmp_path: Path) -> None:
    config = asked("gate: {}", f"feeder: {{{YARD}, backbone: '{INT8}'}}")
    learn(root_of(tmp_path, "gate"), "open", "closed")
    told = doctor.tasks(config, tmp_path, config.backbone)
    assert [each.name for each in told] == ["model", "head", "labels"] * 2 + ["tasks", "cameras", "kept"]
    assert [each.found.partition(":")[0] for each in told[:6]] == ["gate"] * 3 + ["feeder"] * 3
    assert [each.outcome for each in told] == ["ok"] * 5 + ["warn"] + ["ok"] * 3
    assert told[3].found.startswith(f"feeder: {INT8}: ")


def test_a_task_without_labels_is_warned_of(tmp_path: Path) -> None:
    config = asked("gate: {}")
    none = check(config, tmp_path, "labels")
    assert (none.outcome, "--task gate learn" in none.advice) == ("warn", True)
    learn(root_of(tmp_path, "gate"), "open")
    assert check(config, tmp_path, "labels").found == "gate: open alone: a head needs two"
    learn(root_of(tmp_path, "gate"), "open", "closed")
    assert check(config, tmp_path, "labels") == Check("labels", "ok", "gate: closed, open")


def test_a_head_has_labels_too(tmp_path: Path) -> None:
    put_into_service(open_state(root_of(tmp_path, "gate"), UINT8), "open", "closed")
    assert check(asked("gate: {}"), tmp_path, "labels").outcome == "ok"


@pytest.mark.parametrize(
    ("on", "labels", "outcome", "said"),
    [
        ("open", ["open", "closed"], "ok", ""),
        ("opened", ["open", "closed"], "warn", "on is 'opened', which is none of them"),
        ("open", ["open", "closed", "ajar"], "warn", "on is for two labels"),
    ],
)
def test_on_is_one_of_two_labels(on: str, labels: list[str], outcome: str, said: str, tmp_path: Path) -> None:
    learn(root_of(tmp_path, "gate"), *labels)
    found = check(asked(f"gate: {{on: {on}}}"), tmp_path, "labels")
    assert (found.outcome, said in found.found) == (outcome, True)


def test_a_network_that_differs_from_that_of_the_examples_fails(tmp_path: Path) -> None:
    learn(root_of(tmp_path, "gate"), "open", "closed", network=INT8)
    found = check(asked("gate: {}"), tmp_path, "model")
    assert (found.outcome, "must not be mixed" in found.found) == ("fail", True)
    assert "set tasks.gate.backbone: mean_int8" in found.advice
    assert check(asked(f"gate: {{backbone: '{INT8}'}}"), tmp_path, "model").outcome == "ok"


def test_what_is_configured_holds_for_the_first_generation(tmp_path: Path) -> None:
    root = root_of(tmp_path, "gate")
    learn(root, "open", "closed")
    generations.use(root, take_backbone(root, INT8))
    assert check(asked("gate: {}"), tmp_path, "model").outcome == "ok"
    (root / "generation").write_text("gone\n")
    gone = check(asked("gate: {}"), tmp_path, "model")
    assert (gone.outcome, "which is not there" in gone.found) == ("fail", True)


def test_examples_that_cannot_be_read_fail(tmp_path: Path) -> None:
    state = learn(root_of(tmp_path, "gate"), "open", "closed")
    for segment in (state.folder / "cache").glob("*.seg"):
        segment.write_bytes(b"rotten" * 1000)
    assert check(asked("gate: {}"), tmp_path, "labels").outcome == "fail"


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("{}", "{}", True),
        ("{}", "{views: [{name: all}]}", True),
        (f"{{{YARD}}}", "{views: [{camera: yard, name: door}]}", True),
        (f"{{{YARD}}}", "{}", False),
        (f"{{{YARD}}}", "{views: [{camera: yard, region: [0, 0, 0.5, 1]}]}", False),
        (f"{{{YARD}}}", "{views: [{camera: yard, rotate: 90}]}", False),
        ("{}", f"{{backbone: '{INT8}'}}", False),
        ("{}", f"{{backbone: '{UINT8}'}}", True),
    ],
)
def test_tasks_that_differ_in_nothing_are_warned_of(one: str, other: str, alike: bool, tmp_path: Path) -> None:
    found = check(asked(f"gate: {one}", f"door: {other}", "attic: {views: [{camera: attic}]}"), tmp_path, "tasks")
    assert (found.outcome, "gate, door differ in nothing" in found.found) == ("warn" if alike else "ok", alike)


def test_tasks_with_other_labels_differ(tmp_path: Path) -> None:
    config = asked("gate: {}", "door: {}")
    learn(root_of(tmp_path, "gate"), "open", "closed")
    assert check(config, tmp_path, "tasks").outcome == "warn", "it is not known yet what the other one learns"
    learn(root_of(tmp_path, "door"), "closed", "open")
    assert check(config, tmp_path, "tasks").outcome == "warn"
    learn(root_of(tmp_path, "door"), "closed", "open", "ajar")
    assert check(config, tmp_path, "tasks").outcome == "ok"


def test_a_camera_at_which_no_task_looks_is_warned_of(tmp_path: Path) -> None:
    watched = tmp_path / "watched"
    for folder in ("porch", "yard", "done", "bad", ".hidden", "Ku\u0308che"):
        (watched / folder).mkdir(parents=True)
    others = f"folder: {{path: '{watched}', camera: street}}\ncameras: {{attic: {{}}, yard: {{}}}}"
    found = doctor.cameras(asked(f"gate: {{{YARD}}}", others=others), tmp_path)
    assert (found.outcome, found.found) == ("warn", "no task looks at K\u00fcche, attic, porch, street")
    every = doctor.cameras(asked(f"gate: {{{YARD}}}", "door: {views: [{name: all}]}", others=others), tmp_path)
    assert every.outcome == "ok"
    assert doctor.cameras(asked("door: {}", others=others), tmp_path).outcome == "ok"
    assert doctor.cameras(asked(f"gate: {{{YARD}}}", others="folder: {path: /none}"), tmp_path).outcome == "ok"


def test_a_camera_that_was_announced_before_there_were_tasks_is_known(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "announced")
    memory.keep(Announced((Entity("state", "", "porch"), Entity("state", "gate", "attic"))))
    found = doctor.cameras(asked(f"gate: {{{YARD}}}"), tmp_path)
    assert (found.outcome, found.found) == ("warn", "no task looks at porch")


def test_what_is_kept_of_a_task_that_has_another_name_now_is_warned_of(tmp_path: Path) -> None:
    learn(root_of(tmp_path, "gate"), "open", "closed")
    found = kept(asked("front_gate: {}", "door: {}"), tmp_path)
    assert (found.outcome, "nothing of it is lost" in found.found) == ("warn", True)
    assert "`lastlayer tasks rename gate NEW`" in found.advice, "either may be meant"
    learn(root_of(tmp_path, "door"), "open", "closed")
    found = kept(asked("front_gate: {}", "door: {}"), tmp_path)
    assert "`lastlayer tasks rename gate front_gate`" in found.advice
    assert kept(asked("gate: {}", "door: {}"), tmp_path).outcome == "ok"


def test_what_was_learnt_before_there_were_tasks_or_while_there_were_is_warned_of(tmp_path: Path) -> None:
    learn(tmp_path, "open", "closed")
    before = kept(asked("gate: {}"), tmp_path)
    assert before.found.startswith("default (what was learnt before there were tasks) has learnt")
    assert "`lastlayer tasks rename default gate`" in before.advice
    learn(root_of(tmp_path, "gate"), "open", "closed")
    (after,) = doctor.kept(tmp_path, ["default"], said=False)
    assert after.found.startswith("gate has learnt and is not configured")
    assert list(doctor.kept(tmp_path, ["default", "gate"], said=False)) == []


def test_a_renaming_that_has_ended_half_way_fails(tmp_path: Path) -> None:
    way(tmp_path, "gate", "default").mkdir(parents=True)
    half = kept(asked("gate: {}"), tmp_path)
    assert (half.outcome, "completes it" in half.found) == ("fail", True)


def test_a_network_of_several_tasks_is_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def describe(bundle: object) -> dict[str, object]:
        ran.append(bundle)
        return {"width": 1, "height": 1, "size": 1, "family": "none", "words": []}

    monkeypatch.setattr("agent.vision.importing.describe", describe)
    assert len(checks(asked("gate: {}", "door: {}", f"feeder: {{backbone: '{INT8}'}}"), tmp_path, "model")) == 3
    assert len(ran) == 2
