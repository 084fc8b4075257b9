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
from contextlib import closing
from pathlib import Path

import numpy as np

from agent.state.state import open_state
from benchmarks.daemon import Client, lastlayer, phases, running
from benchmarks.pictures import photograph
from benchmarks.rows import at_most, finish
from benchmarks.steady import ENDLESS, measure, remember, table


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
        with running(state.folder, {"retrain": ENDLESS}) as daemon, closing(Client(daemon.url, picture)) as client:
            found = measure(daemon, lambda: phases(client.post()), asked.rounds, asked.rate, asked.seconds)
    print(f"{asked.examples} examples of {state.bundle.name}, {asked.rate:g} frames a second, {os.cpu_count()} cores,")
    print(f"load {load:.1f} before the measurement")
    print(table(found))
    idle, busy = (f"{np.percentile(each, 95):.2f} ms" for each in (found.idle, found.busy))
    row = at_most("p95 of a frame beside a retraining", found.ratio, asked.p95, busy, f"without: {idle}")
    return finish([row]) or int(found.pauses > 0)


if __name__ == "__main__":
    sys.exit(main())
