"""What several tasks on one board cost: of a frame, of memory, beside a retraining, and where nothing is new.

    python -m benchmarks.tasks
    python -m benchmarks.tasks views memory
    python -m benchmarks.tasks interference --rounds 8

Real daemons with heads in service are asked over one connection for each kind of frame.

- views: tasks of 1, 2, 4 and 8 views answer the same picture in turn. The views are of regions of one size, so that
  the picture is decoded at one size for all of them. What a further view costs beyond its invoke: how much longer the
  reply takes, less how much longer the daemon says that the backbone took; for each of the views that are more.
- memory: a daemon with one task and one with two of the same backbone, each started several times, in turn. Both tasks
  look at all frames, which are all different, so that as many are remembered as ever are.
- interference: eight tasks with a camera each, of which one retrains without an end; see steady.py.
- skipping: a picture again and again, for a view that passes it by and for one that does not, in turn. Beyond the
  decode: what the daemon says that it took besides, and likewise all of the reply.

Times are medians of what stood side by side in one run. Ends with 1 where a goal is missed.
"""

import argparse
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from agent.state.state import open_state
from agent.state.tasks import root_of
from benchmarks.daemon import Client, Daemon, lastlayer, phases, results, running, teach
from benchmarks.pictures import jpeg, photograph
from benchmarks.rows import Row, at_most, finish
from benchmarks.steady import ENDLESS, measure, remember, table

SIZES = ((640, 480), (1920, 1080))
VIEWS = (1, 2, 4, 8)
STARTS = 3
FIRST = 20  # frames
TASKS = 8
RATE = 10.0  # frames a second, of all tasks together
MB = 1 << 20
STILL = {"skip_unchanged": 0.05, "skip_at_most_s": 3600}
GOALS = {"view_ms": 0.2, "task_mb": 3.0, "p95": 1.3, "skipped": 0.1}


@contextmanager
def board(taught: Path, folder: Path, tasks: Mapping[str, Any], **config: Any) -> Iterator[Daemon]:
    """A daemon with these tasks, each of which has learnt what is in the state `taught`."""
    state = folder / "-".join(tasks)
    for name in tasks:
        if not (own := root_of(state, name)).exists():
            shutil.copytree(taught, own)
    with running(state, {"tasks": dict(tasks), **config}) as daemon:
        yield daemon


def quarter(number: int) -> list[float]:
    """One of eight regions of half the width and half the height, no two of them the same."""
    return [0.06 * number, 0.06 * number, 0.5, 0.5]


def views(taught: Path, folder: Path, picture: Image.Image, asked: argparse.Namespace) -> Iterator[Row]:
    tasks = {
        f"of{count}": {
            "views": [{"camera": "yard", "name": f"view{number}", "region": quarter(number)} for number in range(count)]
        }
        for count in VIEWS
    }
    with board(taught, folder, tasks) as daemon:
        for width, height in SIZES:
            payload = jpeg(picture.resize((width, height)))
            with ExitStack() as stack:
                clients = [
                    stack.enter_context(closing(Client(daemon.url, payload, f"/v1/frames?camera=yard&task=of{count}")))
                    for count in VIEWS
                ]
                found = np.array([[timed(client) for client in clients] for _ in range(asked.frames)])
            wall, invoke, decode = found[:, :, 0], found[:, :, 1], found[:, :, 2]
            print(f"\na JPEG of {width} x {height}, {len(payload):,} bytes; medians of {asked.frames} in turn, ms")
            for name, figures in (("the reply", wall), ("  decode", decode), ("  invokes", invoke)):
                print(f"{name:<12}" + "".join(f"{median:>9.2f}" for median in np.median(figures, axis=0)))
            rest = wall - invoke
            further = [float(np.median(rest[:, n] - rest[:, 0])) / (VIEWS[n] - 1) for n in range(1, len(VIEWS))]
            print(
                "beyond its invoke, a further view of "
                + ", ".join(f"{count}: {ms:.2f}" for count, ms in zip(VIEWS[1:], further, strict=True))
            )
            an_invoke = float(np.median(invoke[:, -1])) / VIEWS[-1]
            yield at_most(
                f"a further view of {width} x {height}, beyond its invoke",
                further[-1],
                GOALS["view_ms"],
                f"{an_invoke + further[-1]:.2f} ms",
                f"its invoke: {an_invoke:.2f} ms",
                unit=" ms",
            )


def timed(client: Client) -> tuple[float, float, float]:
    """Of a frame, in ms: the whole reply, the invokes of all its views, and its decode."""
    began = time.perf_counter()
    reply = client.post()
    wall = (time.perf_counter() - began) * 1000
    timings = [result["timings_ms"] for result in results(reply)]
    return wall, sum(each["bottleneck"] for each in timings), timings[0]["decode"]


def memory(taught: Path, folder: Path, picture: Image.Image, asked: argparse.Namespace) -> Iterator[Row]:
    small = jpeg(picture.resize((320, 240)))
    both = {name: {"views": [{"camera": "yard", "region": quarter(place)}]} for name, place in (("one", 0), ("two", 7))}

    def resident(tasks: Mapping[str, Any]) -> tuple[float, float]:
        """After the first frames, and once as many are remembered as ever are."""
        with (
            board(taught, folder, tasks) as daemon,
            closing(Client(daemon.url, small, "/v1/frames?camera=yard")) as client,
        ):
            found = []
            for number in range(asked.remembered):
                results(client.post(small + f"{number:08}".encode()))  # what is behind a JPEG's end makes it another
                if number + 1 in (FIRST, asked.remembered):
                    found.append(daemon.process.memory_info().rss / MB)
            return found[0], found[-1]

    taken = [(resident({"one": both["one"]}), resident(both)) for _ in range(STARTS)]
    print(f"\nresident after {FIRST} and {asked.remembered} frames, in turn, MB")
    print("\n".join(f"one task: {one[0]:.1f} {one[1]:.1f}, two: {two[0]:.1f} {two[1]:.1f}" for one, two in taken))
    (young, full), (young_two, full_two) = np.median(taken, axis=0)
    what = "a second task of the same backbone"
    yield Row(what, f"{young_two:.1f} MB", f"one: {young:.1f} MB", f"{young_two - young:.3g} MB")
    yield at_most(
        f"  after {asked.remembered:,} frames for both",
        full_two - full,
        GOALS["task_mb"],
        f"{full_two:.1f} MB",
        f"one: {full:.1f} MB",
        unit=" MB",
    )


def interference(taught: Path, folder: Path, picture: Image.Image, asked: argparse.Namespace) -> Iterator[Row]:
    tasks = {f"task{number}": {"views": [{"camera": f"camera{number}"}]} for number in range(TASKS)}
    state = open_state(root_of(folder / "-".join(tasks), "task0"))
    remember(state, asked.examples)
    lastlayer(state.folder, "retrain", "--solver", "adam", "--steps", "200")
    payload = jpeg(picture.resize(SIZES[0]))
    with board(taught, folder, tasks, retrain=ENDLESS) as daemon, ExitStack() as stack:
        posts = itertools.cycle(
            stack.enter_context(closing(Client(daemon.url, payload, f"/v1/frames?camera=camera{number}"))).post
            for number in range(TASKS)
        )
        found = measure(
            daemon, lambda: phases(next(posts)()), asked.rounds, RATE, asked.seconds, "/v1/retrain?task=task0"
        )
    print(
        f"\n{TASKS} tasks, {RATE:g} frames a second in all, one retrains with {asked.examples} examples\n{table(found)}"
    )
    idle, busy = (f"{np.percentile(each, 95):.2f} ms" for each in (found.idle, found.busy))
    yield at_most(
        f"p95 of a frame of {TASKS} tasks beside a retraining", found.ratio, GOALS["p95"], busy, f"without: {idle}"
    )


def skipping(taught: Path, folder: Path, picture: Image.Image, asked: argparse.Namespace) -> Iterator[Row]:
    tasks = {"still": {"views": [{"camera": "yard", **STILL}]}, "every": {"views": [{"camera": "yard"}]}}
    with board(taught, folder, tasks) as daemon:
        for width, height in SIZES:
            payload = jpeg(picture.resize((width, height)))
            with ExitStack() as stack:
                clients = [
                    stack.enter_context(closing(Client(daemon.url, payload, f"/v1/frames?camera=yard&task={task}")))
                    for task in tasks
                ]
                clients[0].post()  # which the others are like
                found = np.array([[beyond_decode(client) for client in clients] for _ in range(asked.frames)])
            (skipped, in_reply), (classified, of_reply) = np.median(found, axis=0)
            print(f"\n{width} x {height}, beyond its decode, medians of {asked.frames} in turn, ms")
            print(f"skipped {skipped:.3f}, of the reply {in_reply:.2f}; classified {classified:.2f}, {of_reply:.2f}")
            what = f"a skipped frame of {width} x {height} beside a classified one"
            texts = f"{skipped:.3f} ms", f"{classified:.2f} ms"
            yield at_most(f"{what}, beyond their decode", skipped / classified, GOALS["skipped"], *texts)
            yield Row("  with HTTP", f"{in_reply:.2f} ms", f"{of_reply:.2f} ms", f"{in_reply / of_reply:.3g}x")


def beyond_decode(client: Client) -> tuple[float, float]:
    """Of a frame, in ms: what the daemon says that it took without its decode, and the reply likewise."""
    began = time.perf_counter()
    (result,) = results(client.post())
    wall = (time.perf_counter() - began) * 1000
    timings: dict[str, float] = result["timings_ms"]
    return sum(timings.values()) - timings["decode"] - timings.get("bottleneck", 0.0), wall - timings["decode"]


PARTS: dict[str, Callable[[Path, Path, Image.Image, argparse.Namespace], Iterator[Row]]] = {
    "views": views,
    "memory": memory,
    "interference": interference,
    "skipping": skipping,
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of these (default: all): {', '.join(PARTS)}")
    parser.add_argument("--frames", type=int, default=200, help="of each kind, for views and skipping (%(default)s)")
    parser.add_argument("--remembered", type=int, default=1200, help="frames, for memory (%(default)s)")
    parser.add_argument("--examples", type=int, default=20_000, help="of the one that retrains (%(default)s)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each turn, for interference (%(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="turns of each kind, likewise (%(default)s)")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    return asked


def main() -> int:
    asked = options()
    picture, _ = photograph()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="lastlayer-tasks-") as folder:
        taught = Path(folder) / "taught"
        teach(taught, picture)
        print(f"load {os.getloadavg()[0]:.1f} before the measurement, {os.cpu_count()} cores")
        for name in asked.parts or PARTS:
            part = Path(folder) / name
            part.mkdir()
            rows += PARTS[name](taught, part, picture, asked)
    print()
    return finish(rows)


if __name__ == "__main__":
    sys.exit(main())
