"""How much a retraining slows down the frames that are served beside it.

    python -m benchmarks.interference
    python -m benchmarks.interference --rate 10 --seconds 30 --p95 1.5

A real daemon with a head in service and 20,000 synthetic examples in its cache answers frames that come at a steady
rate over one connection, like a camera's. In turn: so many seconds with nothing else, so many while an endless Adam
retrains (batch 100; it does not pause). A frame's latency is from the first byte sent to the last byte read. Ends with
1 where the 95th percentile beside a retraining is more than the goal times the one without.
"""

import argparse
import os
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agent.records import Example, Split
from agent.state.state import State, open_state
from benchmarks.daemon import PATIENCE_S, Client, Daemon, lastlayer, phases, running
from benchmarks.pictures import photograph
from benchmarks.rows import at_most, finish

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


def stream(client: Client, rate: float, seconds: float) -> list[float]:
    """Latencies in ms of frames that come `rate` a second. One that comes late does not bunch the next ones."""
    latencies = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        phases(client.post())
        latencies.append((time.perf_counter() - began) * 1000)
        time.sleep(max(0.0, began + 1 / rate - time.perf_counter()))
    return latencies


def begin_retraining(daemon: Daemon) -> dict[str, Any]:
    """Its status, once it makes steps."""
    daemon.ask("POST", "/v1/retrain")
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        status = daemon.ask("GET", "/v1/retrain")
        if status["state"] in ("done", "failed", "cancelled"):
            sys.exit(f"interference: the retraining ended: {status}")
        if status.get("stage") == "adam":
            return status
        time.sleep(0.1)
    sys.exit("interference: the retraining makes no steps")


def measure(daemon: Daemon, picture: bytes, rounds: int, rate: float, seconds: float) -> Found:
    found = Found()
    with closing(Client(daemon.url, picture)) as client:
        for _ in range(WARM_UP):
            phases(client.post())
        for _ in range(rounds):
            found.idle += stream(client, rate, seconds)
            before, began = begin_retraining(daemon), time.monotonic()
            found.busy += stream(client, rate, seconds)
            after = daemon.ask("GET", "/v1/retrain")
            found.steps += after["step"] - before["step"]
            found.retrained_s += time.monotonic() - began
            found.pauses += after["pauses"]
            daemon.ask("DELETE", "/v1/retrain")
    return found


def table(found: Found) -> str:
    lines = [f"{'ms':<28}" + "".join(f"{name:>9}" for name in ("frames", "median", "p95", "p99", "max"))]
    for name, latencies in (("without a retraining", found.idle), ("beside a retraining", found.busy)):
        figures = [*np.percentile(latencies, (50, 95, 99)), max(latencies)]
        lines.append(f"{name:<28}{len(latencies):>9}" + "".join(f"{figure:>9.2f}" for figure in figures))
    pace = found.steps / found.retrained_s
    lines.append(f"the retraining: {found.steps} steps of 100 examples, {pace:.0f} a second, {found.pauses} pauses")
    return "\n".join(lines)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", metavar="NAME", help="a bundle in models/, a folder, or a .tflite file")
    parser.add_argument("--examples", type=int, default=20_000, help="in the cache (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=15.0, help="frames a second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each turn (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="turns of each kind (default: %(default)s)")
    parser.add_argument("--p95", type=float, default=1.5, help="goal for the ratio (default: %(default)s)")
    return parser.parse_args()


def main() -> int:
    asked = options()
    _, picture = photograph()
    with tempfile.TemporaryDirectory(prefix="lastlayer-interference-") as folder:
        state = open_state(Path(folder) / "state", asked.backbone)
        remember(state, asked.examples)
        lastlayer(state.folder, "retrain", "--solver", "adam", "--steps", "200")
        load = os.getloadavg()[0]
        with running(state.folder, {"retrain": ENDLESS}) as daemon:
            found = measure(daemon, picture, asked.rounds, asked.rate, asked.seconds)
    print(f"{asked.examples} examples of {state.bundle.name}, {asked.rate:g} frames a second, {os.cpu_count()} cores,")
    print(f"load {load:.1f} before the measurement")
    print(table(found))
    idle, busy = (f"{np.percentile(each, 95):.2f} ms" for each in (found.idle, found.busy))
    row = at_most("p95 of a frame beside a retraining", found.ratio, asked.p95, busy, f"without: {idle}")
    return finish([row]) or int(found.pauses > 0)


if __name__ == "__main__":
    sys.exit(main())
