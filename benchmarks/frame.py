"""What the service costs on top of the work itself: a frame over HTTP beside bare decode + invoke.

    python -m benchmarks.frame
    python -m benchmarks.frame --backbone ../shared/models/mobilenet_v1_1.0_224_quant_embedding_extractor.tflite
    python -m benchmarks.frame --median 1.15 --p95 1.5 --cpu-ms 0.5

A real daemon with a head in service answers on a loopback port and on a unix socket. The same 100 kB photograph
(scikit-learn's china.jpg) is decoded and invoked in this process, single-threaded, and posted to the daemon, in turn.
The client is a bare socket that stays open: what a camera's own HTTP library costs is not the service's doing. What the
daemon costs beyond the work shows best with a network that does next to nothing:

    python -m benchmarks.frame --backbone tests/vision/networks/mean_uint8.tflite --cpu-ms 0.5

Ends with 1 where a goal is missed.

A frame over HTTP waits twice for another process, so on a busy machine it measures the scheduler.
Where nothing quieter is to be had, `chrt -f 10 python -m benchmarks.frame` (root) puts both sides before the rest.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from agent.errors import LastlayerError
from agent.state.state import open_state
from agent.vision.backbone import Backbone
from agent.vision.image import decode
from benchmarks.daemon import Client, phases, running, teach
from benchmarks.pictures import photograph
from benchmarks.rows import Row, at_most, finish

DAEMONS = 5  # one after another: where its memory comes to lie makes one faster than the next
WARM_UP = 50  # rounds
INSIDE = ("decode", "session_run", "result_processing")  # the daemon's own timings of a frame; they do not overlap

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """The same picture both ways, [rounds]: wall times in ms; and CPU time per picture in ms."""

    bare: Float64
    served: Float64
    inside: dict[str, Float64]  # phases of `served` as the daemon timed them
    bare_cpu: float
    daemon_cpu: float

    @property
    def median_ratio(self) -> float:
        return float(np.median(self.served) / np.median(self.bare))

    @property
    def p95_ratio(self) -> float:
        return float(np.percentile(self.served, 95) / np.percentile(self.bare, 95))

    @property
    def extra_cpu(self) -> float:
        """CPU time of the daemon per frame beyond that of the bare work, ms."""
        return self.daemon_cpu - self.bare_cpu


def compare(bare: Callable[[], object], client: Client, process: psutil.Process, rounds: int) -> Comparison:
    """Both in turn, after a warm-up."""
    for _ in range(WARM_UP):
        bare()
        phases(client.post())
    wall = np.empty((rounds, 2))
    replies = []
    bare_cpu, before = 0.0, cpu_s(process)
    for row in wall:
        cpu, began = time.process_time(), time.perf_counter()
        bare()
        row[0] = time.perf_counter() - began
        bare_cpu += time.process_time() - cpu
        began = time.perf_counter()
        replies.append(client.post())
        row[1] = time.perf_counter() - began
    daemon_cpu = cpu_s(process) - before
    timed = [phases(reply) for reply in replies]
    inside = {phase: np.array([ms[phase] for ms in timed]) for phase in INSIDE}
    per_frame = 1000 / rounds
    return Comparison(wall[:, 0] * 1000, wall[:, 1] * 1000, inside, bare_cpu * per_frame, daemon_cpu * per_frame)


def together(parts: list[Comparison]) -> Comparison:
    """What was found with several daemons, as one."""
    inside = {phase: np.concatenate([part.inside[phase] for part in parts]) for phase in INSIDE}
    bare, served = np.concatenate([part.bare for part in parts]), np.concatenate([part.served for part in parts])
    bare_cpu, daemon_cpu = np.mean([part.bare_cpu for part in parts]), np.mean([part.daemon_cpu for part in parts])
    return Comparison(bare, served, inside, float(bare_cpu), float(daemon_cpu))


def _bottleneck(backbone: Backbone, payload: bytes) -> object:
    return backbone.bottleneck(decode(payload, backbone.bundle.width, backbone.bundle.height))


def cpu_s(process: psutil.Process) -> float:
    """CPU time of all threads so far; the kernel counts it in ticks of 10 ms, so it takes many frames to tell."""
    times = process.cpu_times()
    return float(times.user + times.system)


def table(found: Comparison) -> str:
    rows: list[tuple[str, Float64, float | None]] = [
        ("bare decode + invoke", found.bare, found.bare_cpu),
        ("a frame through it", found.served, found.daemon_cpu),
    ]
    rows += [(f"  {phase}", ms, None) for phase, ms in found.inside.items()]
    rows.append(("  the rest", found.served - np.sum(list(found.inside.values()), axis=0), None))
    lines = [f"{'ms':<22}" + "".join(f"{name:>9}" for name in ("median", "p95", "mean", "std", "CPU"))]
    for name, ms, cpu in rows:
        figures = (np.median(ms), np.percentile(ms, 95), ms.mean(), ms.std(ddof=1))
        cells = "".join(f"{figure:>9.3f}" for figure in figures)
        lines.append(f"{name:<22}{cells}" + ("" if cpu is None else f"{cpu:>9.3f}"))
    return "\n".join(lines)


def rows_of(door: str, found: Comparison, options: argparse.Namespace) -> list[Row]:
    """What was found beside the goals."""
    rows = []
    (median, bare_median), (p95, bare_p95) = (
        [float(np.percentile(ms, percent)) for ms in (found.served, found.bare)] for percent in (50, 95)
    )
    for what, ratio, goal, ours, peer, unit in (
        (f"a frame by {door}, median", found.median_ratio, options.median, median, bare_median, "x"),
        (f"a frame by {door}, p95", found.p95_ratio, options.p95, p95, bare_p95, "x"),
        ("  its CPU beyond the bare one", found.extra_cpu, options.cpu_ms, found.daemon_cpu, found.bare_cpu, " ms"),
    ):
        texts = f"{ours:.3f} ms", f"decode + invoke: {peer:.3f} ms"
        row = Row(what, *texts, f"{ratio:.3g}{unit}") if goal is None else at_most(what, ratio, goal, *texts, unit=unit)
        rows.append(row)
    return rows


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", metavar="NAME", help="a bundle in models/, a folder, or a .tflite file")
    parser.add_argument("--rounds", type=int, default=900, help="over all daemons (default: %(default)s)")
    parser.add_argument("--median", type=float, default=1.15, help="goal for the medians' ratio (default: %(default)s)")
    parser.add_argument(
        "--p95", type=float, default=1.5, help="likewise of the 95th percentiles (default: %(default)s)"
    )
    parser.add_argument("--cpu-ms", type=float, help="goal for the daemon's CPU beyond bare (default: none)")
    return parser.parse_args()


def main() -> int:
    asked = options()
    picture, payload = photograph()
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lastlayer-frame-"))) / "state"
        try:
            teach(state, picture, asked.backbone)
            backbone = open_state(state).backbone()
        except subprocess.CalledProcessError as error:
            return int(error.returncode)
        except LastlayerError as error:
            print(f"frame: {error}", file=sys.stderr)
            return error.exit_code
        width, height = backbone.bundle.width, backbone.bundle.height
        load, cores = os.getloadavg()[0], os.cpu_count() or 1
        parts: dict[str, list[Comparison]] = {"TCP": [], "unix socket": []}
        bare = partial(_bottleneck, backbone, payload)
        for _ in range(DAEMONS):
            path = state.with_name("http.sock")
            with running(state, {"http": {"socket": str(path)}}) as daemon:
                doors: dict[str, str | Path] = {"TCP": daemon.url, "unix socket": path}
                for door, where in doors.items():
                    with closing(Client(where, payload)) as client:
                        parts[door].append(compare(bare, client, daemon.process, asked.rounds // DAEMONS))
        found = {door: together(of_door) for door, of_door in parts.items()}
    print(
        f"{backbone.bundle.name}, {width} x {height} px; a JPEG of {len(payload):,} bytes, "
        f"{picture.width} x {picture.height}; {len(found['TCP'].bare)} rounds in turn for each"
    )
    for door, of_both in found.items():
        print(f"\n{door}\n{table(of_both)}")
    if load > cores / 2:
        print(f"\nthe machine was busy (load {load:.1f}, {cores} cores): a wait for the scheduler counts as HTTP here")
    return finish([row for door, of_both in found.items() for row in rows_of(door, of_both, asked)])


if __name__ == "__main__":
    sys.exit(main())
