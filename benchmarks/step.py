"""What a training step costs: ours, plain numpy, and torch where it is installed.

    python -m benchmarks.step

A step takes a batch of uint8 bottlenecks of 2,048 values, standardises them, and does one update of Adam. The
contestants run in turn, one thread each; the table shows the medians in ms, and how many times as long the others took.
"""

import argparse
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.learning.solvers import Adam, SoftmaxStep

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

SIZE = 2048
RATE, EPSILON = 0.01, 0.1

Step = Callable[[NDArray[np.uint8], NDArray[np.int32]], Any]


def ours(classes: int, batch: int, shift: NDArray[np.float32], factor: NDArray[np.float32]) -> Step:
    return SoftmaxStep(SIZE, classes, batch, Adam(RATE, epsilon=EPSILON), shift, factor)


def plain_numpy(classes: int, batch: int, shift: NDArray[np.float32], factor: NDArray[np.float32]) -> Step:
    """The formulas as one writes them down, in float32."""
    w, b = np.zeros((SIZE, classes), np.float32), np.zeros(classes, np.float32)
    moments = [[np.zeros_like(p), np.zeros_like(p)] for p in (w, b)]
    steps = 0

    def step(raw: NDArray[np.uint8], targets: NDArray[np.int32]) -> None:
        nonlocal steps
        steps += 1
        x = (raw.astype(np.float32) - shift) * factor
        logits = x @ w + b
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        error = exponentials / exponentials.sum(axis=1, keepdims=True)
        error[np.arange(len(x)), targets] -= 1
        error /= len(x)
        for p, g, m in ((w, x.T @ error, moments[0]), (b, error.sum(axis=0), moments[1])):
            m[0] = 0.9 * m[0] + 0.1 * g
            m[1] = 0.999 * m[1] + 0.001 * g**2
            p -= RATE * (m[0] / (1 - 0.9**steps)) / (np.sqrt(m[1] / (1 - 0.999**steps)) + EPSILON)

    return step


def with_torch(classes: int, batch: int, shift: NDArray[np.float32], factor: NDArray[np.float32]) -> Step:
    import torch

    torch.set_num_threads(1)
    layer = torch.nn.Linear(SIZE, classes)
    optimizer = torch.optim.Adam(layer.parameters(), lr=RATE, eps=EPSILON)
    torch_shift, torch_factor = torch.from_numpy(shift), torch.from_numpy(factor)

    def step(raw: NDArray[np.uint8], targets: NDArray[np.int32]) -> None:
        x = (torch.from_numpy(raw).float() - torch_shift) * torch_factor
        loss = torch.nn.functional.cross_entropy(layer(x), torch.from_numpy(targets).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def medians_ms(steps: dict[str, Step], classes: int, batch: int, seconds: float) -> dict[str, float]:
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 256, (batch, SIZE), np.uint8)
    targets = rng.integers(0, classes, batch).astype(np.int32)
    times: dict[str, list[float]] = {name: [] for name in steps}
    until = time.monotonic() + seconds
    while time.monotonic() < until or len(next(iter(times.values()))) < 6:
        for name, step in steps.items():
            began = time.perf_counter()
            step(raw, targets)
            times[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", nargs="+", type=int, default=[10, 100, 1000])
    parser.add_argument("--batches", nargs="+", type=int, default=[100, 1000])
    parser.add_argument("--seconds", type=float, default=3.0, help="to measure each size for (3)")
    options = parser.parse_args()
    if not ONE_THREAD.items() <= os.environ.items():  # BLAS looks at these when it is loaded, which it is by now
        os.execve(
            sys.executable, [sys.executable, "-m", "benchmarks.step", *sys.argv[1:]], {**os.environ, **ONE_THREAD}
        )
    contestants = {"ours": ours, "numpy": plain_numpy}
    if importlib.util.find_spec("torch"):
        contestants["torch"] = with_torch
    shift, factor = np.full(SIZE, 127.5, np.float32), np.full(SIZE, 1 / 74, np.float32)
    print(f"{'classes':>8}{'batch':>8}" + "".join(f"{name:>10}" for name in contestants) + "   others / ours")
    for classes in options.classes:
        for batch in options.batches:
            steps = {name: make(classes, batch, shift, factor) for name, make in contestants.items()}
            found = medians_ms(steps, classes, batch, options.seconds)
            ratios = "".join(f"{found[name] / found['ours']:>8.2f}" for name in list(found)[1:])
            print(f"{classes:>8}{batch:>8}" + "".join(f"{ms:>10.3f}" for ms in found.values()) + f"   {ratios}")


if __name__ == "__main__":
    main()
