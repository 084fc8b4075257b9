"""A camera that sends more frames over MQTT than the board can classify: how old the answers are, and what is dropped.

    python -m benchmarks.mqtt_stream
    python -m benchmarks.mqtt_stream --fps 30 --manages 10 --seconds 60 --json

A real broker and a real daemon, whose backbone is slowed down to so many frames a second. A frame's latency is from its
publication to its result's arrival at a subscriber. Ends with 1 where the 95th percentile of the latencies in the last
third is beyond the goal (in turns of the backbone), a frame is neither answered nor counted as dropped, or the daemon's
memory grew by more than the goal from the first third to the last.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as paho
import psutil
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.daemon import PATIENCE_S, Daemon, running
from benchmarks.pictures import photograph
from benchmarks.rows import Row, at_most, finish
from demo.processes import HOST, running_broker

NODE = "bench"

# The daemon as it is, with a backbone that takes its time.
SLOWED = """
import sys, time
from agent.vision.backbone import Backbone
bottleneck, turn_s = Backbone.bottleneck, float(sys.argv.pop(1))
def slowed(self, image):
    began = time.monotonic()
    answer = bottleneck(self, image)
    time.sleep(max(0.0, turn_s - (time.monotonic() - began)))
    return answer
Backbone.bottleneck = slowed
from agent.cli import main
sys.exit(main())
"""


@dataclass(frozen=True)
class Found:
    sent: int
    answered: int
    dropped: int
    p50_ms: float
    p95_ms: float
    p95_late_ms: float  # of the last third
    max_ms: float
    rss_early_mb: float  # medians of the first and of the last third
    rss_late_mb: float

    @property
    def growth_mb(self) -> float:
        return self.rss_late_mb - self.rss_early_mb


class Camera:
    """Publishes and listens over one connection."""

    def __init__(self, port: int) -> None:
        self.sent: list[float] = []
        self.answers: list[tuple[int, float]] = []  # (number of the frame, latency in s)
        self._online = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe(f"lastlayer/{NODE}/#", qos=1)
        self._client.on_message = self._on_message
        self._client.connect(HOST, port)
        self._client.loop_start()

    def wait_online(self) -> None:
        if not self._online.wait(PATIENCE_S):
            sys.exit("mqtt_stream: the daemon does not come online")

    def push(self, picture: bytes) -> None:
        self.sent.append(time.perf_counter())
        self._client.publish(f"lastlayer/{NODE}/frame/door/{len(self.sent) - 1}", picture, qos=0)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: paho.Client, _u: object, message: paho.MQTTMessage) -> None:
        if message.topic.endswith("/availability"):
            self._online.set()
        elif message.topic.endswith("/result"):
            number = int(json.loads(message.payload)["ref"])
            self.answers.append((number, time.perf_counter() - self.sent[number]))


def counted(daemon: Daemon) -> dict[str, int]:
    """What the daemon counted of MQTT's frames."""
    counts: dict[str, int] = daemon.ask("GET", "/v1/status")["sources"].get("mqtt", {})
    return counts


def measure(fps: float, manages: float, seconds: float) -> Found:
    _, picture = photograph()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ExitStack() as stack:
            _, port = stack.enter_context(running_broker(None, folder))
            config = {"mqtt": {"host": HOST, "port": port, "node": NODE}}
            daemon = stack.enter_context(running(folder / "state", config, ("-c", SLOWED, str(1 / manages))))
            camera = Camera(port)
            camera.wait_online()
            rss = stream(camera, picture, daemon.process, fps, seconds)
            deadline = time.monotonic() + PATIENCE_S
            while (
                sum((counts := counted(daemon)).values()) < len(camera.sent) or len(camera.answers) < counts["frames"]
            ):
                if time.monotonic() > deadline:
                    break
                time.sleep(0.1)
            camera.close()
    late = [latency for number, latency in camera.answers if number >= 2 * len(camera.sent) // 3]
    latencies = [latency for _, latency in camera.answers]
    p50, p95, most = (float(1000 * np.percentile(latencies, rank)) for rank in (50, 95, 100))
    third = len(rss) // 3
    early_mb, late_mb = (float(np.median(part)) / 1e6 for part in (rss[:third], rss[-third:]))
    p95_late = float(1000 * np.percentile(late, 95))
    return Found(len(camera.sent), len(latencies), counts["dropped"], p50, p95, p95_late, most, early_mb, late_mb)


def stream(camera: Camera, picture: bytes, process: psutil.Process, fps: float, seconds: float) -> list[int]:
    """The daemon's resident memory in bytes, at each frame that was sent."""
    rss = []
    began = time.perf_counter()
    for number in range(round(fps * seconds)):
        time.sleep(max(0.0, began + number / fps - time.perf_counter()))
        camera.push(picture)
        rss.append(process.memory_info().rss)
    return rss


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mqtt_stream",
        description=(__doc__ or "").split("\n\n")[0],
        epilog="example: python -m benchmarks.mqtt_stream --fps 30 --manages 10 --seconds 60",
    )
    parser.add_argument("--fps", type=float, default=30.0, help="frames that the camera sends a second (30)")
    parser.add_argument("--manages", type=float, default=10.0, help="frames that the backbone manages a second (10)")
    parser.add_argument("--seconds", type=float, default=30.0, help="(30)")
    parser.add_argument("--turns", type=float, default=4.0, help="goal: p95 in turns of the backbone (4)")
    parser.add_argument("--growth-mb", type=float, default=5.0, help="goal: growth of memory (5)")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    return parser.parse_args()


def main() -> int:
    wanted = options()
    found = measure(wanted.fps, wanted.manages, wanted.seconds)
    figures: dict[str, Any] = {**asdict(found), "growth_mb": found.growth_mb}
    if wanted.json:
        print(json.dumps(figures))
        return int(any(row.met is False for row in rows_of(found, wanted)))
    for name, figure in figures.items():
        print(f"{name:<14} {figure:10.1f}" if isinstance(figure, float) else f"{name:<14} {figure:8d}")
    return finish(rows_of(found, wanted))


def rows_of(found: Found, wanted: argparse.Namespace) -> list[Row]:
    lost = found.sent - found.answered - found.dropped
    turns, most = found.p95_late_ms * wanted.manages / 1000, wanted.turns
    what = f"{wanted.fps:g} frames a second over MQTT, {wanted.manages:g} managed"
    return [
        at_most(f"{what}: p95 of the last third", turns, most, f"{found.p95_late_ms:.0f} ms", unit=" turns"),
        at_most("  neither answered nor counted as dropped", lost, 0, f"{found.answered} + {found.dropped}", unit=""),
        at_most("  growth of memory", found.growth_mb, wanted.growth_mb, unit=" MB"),
    ]


if __name__ == "__main__":
    sys.exit(main())
