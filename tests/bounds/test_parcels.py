"""Parcels that would take memory, or a board's service, from its owner: over HTTP and MQTT."""

from pathlib import Path

import pytest

from agent.learning.solving.head import Form
from agent.vision.backbone import FAMILY
from agent.vision.bundle import load_bundle
from tests.bounds.witness import Witness, post
from tests.daemon import Daemon, lastlayer
from tests.mosquitto import Listener, Mosquitto
from tests.state import wicked

pytestmark = pytest.mark.bounds

# Those that take memory or time where they are not bounded; tests/state/test_wicked.py has the others.
HEAVY = ("bomb", "lying about its shape", "crowded", "deep meta", "a megabyte", "beyond float32")


def form_of(state: Path) -> Form:
    bundle = load_bundle(state / "backbone")
    return Form(bundle.backbone_id(FAMILY), bundle.size)


def heavy(parcels: dict[str, wicked.Build]) -> dict[str, wicked.Build]:
    return {
        name: build
        for name, build in parcels.items()
        if name.startswith("header") or any(name.endswith(part) for part in HEAVY)
    }


def test_a_fresh_board_refuses_heads_that_cannot_serve(tmp_path: Path, jpegs: list[bytes]) -> None:
    state = tmp_path / "state"
    with Daemon(state) as daemon, Witness(daemon, jpegs[0]):
        for name, build in wicked.head_parcels(form_of(state)).items():
            assert post(daemon, build(), "/v1/heads") in (400, 409, 413), name
    with Daemon(state) as again:
        assert again.ask("GET", "/v1/heads") == {"active": None, "heads": []}
        assert post(again, jpegs[0]) == 200
    lastlayer("--state", state, "doctor", expect=None)


def test_a_backbone_parcel_is_opened_within_bounds(tmp_path: Path, jpegs: list[bytes]) -> None:
    state = tmp_path / "state"
    with Daemon(state) as daemon, Witness(daemon, jpegs[0]):
        parcels = heavy(wicked.backbone_parcels(load_bundle(state / "backbone"), form_of(state)))
        assert len(parcels) >= 5
        for name, build in parcels.items():
            assert post(daemon, build(), "/v1/models") in (400, 409, 413), name
        assert daemon.ask("GET", "/v1/models")["models"] == ["first"]


def test_by_mqtt_too(tmp_path: Path, jpegs: list[bytes]) -> None:
    state = tmp_path / "state"
    with Mosquitto(tmp_path) as broker:
        config = {"mqtt": {"host": broker.host, "port": broker.port, "node": "board"}}
        with Daemon(state, config) as daemon, Listener(broker) as client, Witness(daemon, jpegs[0]):
            form = form_of(state)
            kinds = {
                "head": heavy(wicked.head_parcels(form)),
                "backbone": heavy(wicked.backbone_parcels(load_bundle(state / "backbone"), form)),
            }
            for kind, parcels in kinds.items():
                for number, (name, build) in enumerate(parcels.items()):
                    key = f"{kind}{number}"
                    client.publish(f"lastlayer/board/exchange/{kind}/{key}", build())
                    (answer,) = client.wait_for(f"lastlayer/board/exchanged/{key}", timeout=120)
                    assert answer["ok"] is False, name
