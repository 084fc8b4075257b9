"""What a training step costs: ours, plain numpy, the rule of pycoral, and torch where it is installed.

    python -m benchmarks.step
    python -m benchmarks.step --threads 2

A step takes a batch of uint8 bottlenecks of 2,048 values, dequantizes them, does one update of Adam and tells the loss
and how many were right. The contestants run in turn, each in a process of its own, because arrays that are made anew in
every step cost what the heap has become by then. Times are medians: of CPU time with one thread, of wall time with
more. `limit` is how many times faster than plain numpy a step would be that did nothing but its two products; the last
rows compare our step with the rate of a square matrix product (2,048 values a side).
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from agent.learning.solving.solvers import Adam, SoftmaxStep
from benchmarks.peers import EPSILON, RATE, SCALE, SIZE, ZERO_POINT, Step, plain_numpy, through_jacobians
from benchmarks.rows import Row, at_least, beside, finish

MOST_JACOBIANS = 10**8  # of pycoral's rule: more values would take minutes


def ours(classes: int, batch: int) -> Step:
    return SoftmaxStep(SIZE, classes, batch, Adam(RATE, epsilon=EPSILON), ZERO_POINT, SCALE)


def with_torch(classes: int, batch: int) -> Step:
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    layer = torch.nn.Linear(SIZE, classes)
    optimizer = torch.optim.Adam(layer.parameters(), lr=RATE, eps=EPSILON)

    def step(raw: NDArray[np.uint8], targets: NDArray[np.int32]) -> tuple[float, int]:
        x = (torch.from_numpy(raw).float() - ZERO_POINT) * SCALE
        truth = torch.from_numpy(targets).long()
        logits = layer(x)
        loss = torch.nn.functional.cross_entropy(logits, truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item(), int((logits.argmax(dim=1) == truth).sum())

    return step


def pycorals(classes: int, batch: int) -> Step:
    """SGD, with the gradient of each row through the Jacobian of its softmax."""
    weights, bias = np.zeros((SIZE, classes), np.float32), np.zeros(classes, np.float32)

    def step(raw: NDArray[np.uint8], targets: NDArray[np.int32]) -> None:
        x = (raw.astype(np.float32) - np.float32(ZERO_POINT)) * np.float32(SCALE)
        scores = x @ weights + bias
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        error = through_jacobians(p, targets)
        weights[:] -= np.float32(RATE) * (x.T @ error)
        bias[:] -= np.float32(RATE) * error.sum(axis=0)

    return step


def products(classes: int, batch: int) -> Step:
    """The two matrix products of a step alone."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, SIZE), np.float32)
    weights, gradient = rng.standard_normal((SIZE, classes), np.float32), np.empty((SIZE, classes), np.float32)
    logits = np.empty((batch, classes), np.float32)

    def step(raw: NDArray[np.uint8], targets: NDArray[np.int32]) -> None:
        np.matmul(x, weights, out=logits)
        np.matmul(x.T, logits, out=gradient)

    return step


def square(classes: int, batch: int) -> Step:
    """A large matrix product, whatever the step."""
    left = np.random.default_rng(0).standard_normal((SIZE, SIZE), np.float32)
    right, out = left.copy(), np.empty_like(left)
    return lambda raw, targets: np.matmul(left, right, out=out)


CONTESTANTS = {
    "ours": ours,
    "numpy": plain_numpy,
    "torch": with_torch,
    "pycoral": pycorals,
    "products": products,
    "square": square,
}


def times_ms(name: str, classes: int, batch: int, seconds: float) -> list[float]:
    """Of the steps that fit into so many seconds, at least three, after one that does not count."""
    clock = time.process_time if os.environ["OMP_NUM_THREADS"] == "1" else time.perf_counter
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 256, (batch, SIZE), np.uint8)
    targets = rng.integers(0, classes, batch).astype(np.int32)
    step = CONTESTANTS[name](classes, batch)
    step(raw, targets)
    found: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until or len(found) < 3:
        began = clock()
        step(raw, targets)
        found.append((clock() - began) * 1000)
    return found


def in_a_child(name: str, classes: int, batch: int, options: argparse.Namespace) -> list[float]:
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(options.threads))
    command = [sys.executable, "-m", "benchmarks.step", "--child", name, "--classes", str(classes)]
    command += ["--batches", str(batch), "--seconds", str(options.seconds)]
    child = subprocess.run(command, env={**os.environ, **threads}, stdout=subprocess.PIPE, check=True)
    times: list[float] = json.loads(child.stdout)
    return times


def medians_ms(classes: int, batch: int, names: list[str], options: argparse.Namespace) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in (*names, "products", "square")}
    if batch * classes**2 > MOST_JACOBIANS:
        del times["pycoral"]
    for _ in range(options.rounds):
        for name, found in times.items():
            found += in_a_child(name, classes, batch, options)
    return {name: statistics.median(found) for name, found in times.items()}


def rows_of(classes: int, batch: int, ms: dict[str, float]) -> Iterator[Row]:
    ours = ms["ours"]
    what, text = f"a step of {batch:,}, {classes:,} classes", f"{ours:.3f} ms"
    limit = f"plain numpy {ms['numpy']:.3f} ms (limit {ms['numpy'] / ms['products']:.2g}x)"
    yield at_least(what, ms["numpy"] / ours, 2.5, text, limit)
    if "torch" in ms:
        yield at_least(what, ms["torch"] / ours, 1 / 1.3, text, f"torch {ms['torch']:.3f} ms")
    if "pycoral" in ms:
        yield beside(what, ms["pycoral"] / ours, text, f"pycoral's rule {ms['pycoral']:.3f} ms")
    if classes >= 100 and batch >= 1000:
        roof = 2.0 * batch * classes / SIZE**2 * ms["square"] / ours
        yield at_least("  of the rate of a square sgemm", roof, 0.6, text, unit="")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", nargs="+", type=int, default=[10, 100, 1000])
    parser.add_argument("--batches", nargs="+", type=int, default=[100, 1000, 10_000])
    parser.add_argument("--seconds", type=float, default=0.5, help="to measure each contestant for, each time (0.5)")
    parser.add_argument("--rounds", type=int, default=2, help="how often each has its turn (2)")
    parser.add_argument("--threads", type=int, default=1, help="of BLAS and torch (1)")
    parser.add_argument("--child", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(times_ms(options.child, options.classes[0], options.batches[0], options.seconds)))
        return 0
    names = ["ours", "numpy", "pycoral", *(["torch"] if importlib.util.find_spec("torch") else [])]
    rows: list[Row] = []
    for classes in options.classes:
        for batch in options.batches:
            ms = medians_ms(classes, batch, names, options)
            rows += rows_of(classes, batch, ms)
            print(classes, batch, " ".join(f"{name} {each:.3f}" for name, each in ms.items()), file=sys.stderr)
    return finish(rows)


if __name__ == "__main__":
    sys.exit(main())
