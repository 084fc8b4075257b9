"""Frames at a steady rate, like a camera's, in turn with nothing else and beside a retraining that never ends."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agent.records import Example, Split
from agent.state.state import State
from benchmarks.daemon import PATIENCE_S, Daemon

LABELS = 20
ENDLESS = {"solver": "adam", "steps": 10_000_000, "validate_every": 100, "pause_latency_factor": 0}
WARM_UP = 30  # frames


@dataclass
class Found:
    """Latencies in ms, and how far the retrainings came."""

    idle: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    steps: int = 0
    retrained_s: float = 0.0
    pauses: int = 0

    @property
    def ratio(self) -> float:
        return float(np.percentile(self.busy, 95) / np.percentile(self.idle, 95))


def remember(state: State, count: int, seed: int = 0) -> None:
    """Fill the cache with `count` examples, each class a Gaussian cloud."""
    rng = np.random.default_rng(seed)
    backbone = state.backbone()
    low, high = (0, 255) if backbone.dtype == np.uint8 else (-128, 127) if backbone.dtype == np.int8 else (-8, 8)
    centres = rng.uniform(low, high, (LABELS, backbone.size))
    with state.cache(backbone) as cache:
        for first in range(0, count, 1000):
            examples = []
            for number in range(first, min(first + 1000, count)):
                label = number % LABELS
                cloud = centres[label] + (high - low) / 3 * rng.standard_normal(backbone.size)
                bottleneck = np.clip(cloud, low, high).astype(backbone.dtype)
                split: Split = "val" if number % 10 == 0 else "train"
                examples.append(Example(f"{number:016x}", f"label {label}", bottleneck, number, "", split, True))
            cache.append(examples)


def stream(post: Callable[[], object], rate: float, seconds: float) -> list[float]:
    """Latencies in ms of frames that come `rate` a second. One that comes late does not bunch the next ones."""
    latencies = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        post()
        latencies.append((time.perf_counter() - began) * 1000)
        time.sleep(max(0.0, began + 1 / rate - time.perf_counter()))
    return latencies


def begin_retraining(daemon: Daemon, path: str) -> dict[str, Any]:
    """Its status, once it makes steps."""
    daemon.ask("POST", path)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        status = daemon.ask("GET", path)
        if status["state"] in ("done", "failed", "cancelled"):
            sys.exit(f"the retraining ended: {status}")
        if status.get("stage") == "adam":
            return status
        time.sleep(0.1)
    sys.exit("the retraining makes no steps")


def measure(
    daemon: Daemon, post: Callable[[], object], rounds: int, rate: float, seconds: float, path: str = "/v1/retrain"
) -> Found:
    """`post` sends a frame and waits for its answer; `path` is that of the retraining."""
    found = Found()
    for _ in range(WARM_UP):
        post()
    for _ in range(rounds):
        found.idle += stream(post, rate, seconds)
        before, began = begin_retraining(daemon, path), time.monotonic()
        found.busy += stream(post, rate, seconds)
        after = daemon.ask("GET", path)
        found.steps += after["step"] - before["step"]
        found.retrained_s += time.monotonic() - began
        found.pauses += after["pauses"]
        daemon.ask("DELETE", path)
    return found


def table(found: Found) -> str:
    lines = [f"{'ms':<28}" + "".join(f"{name:>9}" for name in ("frames", "median", "p95", "p99", "max"))]
    for name, latencies in (("without a retraining", found.idle), ("beside a retraining", found.busy)):
        figures = [*np.percentile(latencies, (50, 95, 99)), max(latencies)]
        lines.append(f"{name:<28}{len(latencies):>9}" + "".join(f"{figure:>9.2f}" for figure in figures))
    pace = found.steps / found.retrained_s
    lines.append(f"the retraining: {found.steps} steps of 100 examples, {pace:.0f} a second, {found.pauses} pauses")
    return "\n".join(lines)
