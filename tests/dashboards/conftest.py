"""A board that reports to a real broker, and pictures for it to see."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import crops
from tests.daemon import Daemon
from tests.mosquitto import Mosquitto

CACHE = Path(__file__).resolve().parents[2] / ".cache"  # of what is downloaded once


@pytest.fixture
def board(state: Path, mosquitto: Mosquitto) -> Iterator[Daemon]:
    config: dict[str, Any] = {"mqtt": {"host": mosquitto.host, "port": mosquitto.port, "node": "porch"}}
    with Daemon(state, config) as daemon:
        yield daemon


@pytest.fixture
def push(board: Daemon, photographs: list[np.ndarray]) -> Callable[[], None]:
    """The cameras `door` and `gate` send some frames; one of them is no picture."""
    pictures = {
        camera: crops(photograph, 5, seed=3) for camera, photograph in zip(("door", "gate"), photographs, strict=True)
    }

    def send() -> None:
        for camera, payloads in pictures.items():
            for payload in payloads:
                board.ask("POST", f"/v1/frames?camera={camera}", payload)
        board.ask("POST", "/v1/frames?camera=door", b"no picture", expect=400)

    return send
