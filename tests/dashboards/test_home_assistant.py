"""The Home Assistant dashboard: none runs here, but what it shows is what a real board's discovery makes."""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from tests.daemon import ROOT, Daemon
from tests.mosquitto import Listener, Mosquitto

pytestmark = pytest.mark.dashboards

DASHBOARD = ROOT / "examples" / "dashboards" / "home-assistant.yaml"
# Those of its frontend that need no add-on. https://www.home-assistant.io/dashboards/cards/
CARDS = {"entities", "glance", "history-graph", "statistics-graph", "markdown", "button", "tile", "gauge"}


def cards() -> list[dict[str, Any]]:
    (view,) = yaml.safe_load(DASHBOARD.read_text("utf-8"))["views"]
    return list(view["cards"])


def rows() -> Iterator[dict[str, Any]]:
    for card in cards():
        for row in card["entities"]:
            yield {"entity": row} if isinstance(row, str) else row


def slug(text: str) -> str:
    """As Home Assistant makes entity ids of names."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_")


def test_it_is_made_of_cards_that_every_home_assistant_has() -> None:
    assert {card["type"] for card in cards()} <= CARDS
    assert {row.get("type", "attribute") for row in rows()} == {"attribute"}
    assert all(row["attribute"] for row in rows() if row.get("type") == "attribute")


def test_every_entity_and_attribute_that_it_shows_is_one_that_the_board_announces(
    board: Daemon, push: Callable[[], None], mosquitto: Mosquitto
) -> None:
    with Listener(mosquitto, "#") as listener:
        push()
        shown = {row["entity"] for row in rows()}

        def entities(discovery: dict[str, Any]) -> dict[str, str]:
            name = discovery["device"]["name"]
            return {
                f"{component['platform']}.{slug(name + ' ' + component['name'])}": component.get(
                    "json_attributes_topic", ""
                )
                for component in discovery["components"].values()
            }

        def is_complete(discovery: Any) -> bool:
            return shown <= entities(discovery).keys()

        try:
            discovery = listener.wait_for("homeassistant/device/+/config", is_complete)[-1]
        except AssertionError:
            heard = [payload for topic, payload in listener.heard if topic.endswith("/config")]
            raise AssertionError(f"never announced: {shown - entities(heard[-1]).keys()}") from None
        for row in rows():
            if "attribute" in row:
                topic = entities(discovery)[row["entity"]]
                assert row["attribute"] in listener.wait_for(topic)[-1], json.dumps(row)
