"""Which head is in service, whoever asks at once."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from agent.learning.heads.store import HeadStore
from agent.learning.solving.head import Head
from agent.reporting.announcer import Announcer
from agent.reporting.timing import Timings
from agent.service.heads import Heads
from agent.vision.classifier import Classifier

BACKBONE_ID = "0" * 32
PATIENCE_S = 30.0


class SlowFlash(HeadStore):
    """Loads head 1 only when it may go on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.is_loading = threading.Event()
        self.go_on = threading.Event()

    def load(self, version: str) -> Head:
        head = super().load(version)
        if version == "1" and threading.current_thread().name.startswith("slow"):
            self.is_loading.set()
            assert self.go_on.wait(PATIENCE_S)
        return head


def test_a_head_never_comes_back_when_a_newer_one_was_activated_meanwhile(tmp_path: Path) -> None:
    store = SlowFlash(tmp_path)
    for number in range(2):
        bias = np.array([number, 0], np.float32)
        store.add(Head(("glass", "paper"), np.zeros((4, 2), np.float32), bias, BACKBONE_ID), {})
    backbone: Any = SimpleNamespace(backbone_id=BACKBONE_ID, size=4)
    classifier = Classifier(backbone, Timings(node="test", runtime="none"))
    told: list[str] = []

    def hear(event: str, payload: Mapping[str, Any]) -> None:
        told.append(payload["version"])

    heads = Heads(store, classifier, Announcer(None, [hear]))
    store.activate("1")
    with ThreadPoolExecutor(1, "slow") as slow, ThreadPoolExecutor(1, "fast") as fast:
        first = slow.submit(heads.follow_store)
        assert store.is_loading.wait(PATIENCE_S)
        second = fast.submit(heads.activate, "2")
        wait([second], 0.3)  # it waits for the first, or, where nothing holds it, is through by then
        store.go_on.set()
        first.result(PATIENCE_S)
        second.result(PATIENCE_S)
    assert heads.in_service == "2"
    assert told == ["1", "2"]
    assert heads.summary is not None
    assert heads.summary["version"] == "2"
