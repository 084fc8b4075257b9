"""What the service takes of a machine: memory, whether it grows, and how long it is until the first answer.

    python -m benchmarks.footprint
    python -m benchmarks.footprint --frames 10000 --more 100000

A real daemon with the default backbone and a head in service classifies photographs that come one after another over
one connection. Its resident memory is read after so many frames, and again after so many more. The start is that of the
command `lastlayer run`, its files being in the page cache, until the answer to a first frame has been read. Ends with 1
where a goal is missed.
"""

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks.daemon import Client, phases, running, teach
from benchmarks.pictures import photograph
from benchmarks.rows import at_most, finish

MB = 1 << 20
STARTS = 7


def first_answer_s(state: Path, payload: bytes) -> float:
    """From the start of the command to the first answer."""
    began = time.monotonic()
    with running(state) as daemon, closing(Client(daemon.url, payload)) as client:
        phases(client.post())
        return time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000, help="until it has warmed up (default: %(default)s)")
    parser.add_argument("--more", type=int, default=100_000, help="over which it may grow (default: %(default)s)")
    parser.add_argument("--rss-mb", type=float, default=80.0, help="goal (default: %(default)s)")
    parser.add_argument("--growth-mb", type=float, default=1.0, help="goal, per 100,000 frames (default: %(default)s)")
    parser.add_argument("--start-s", type=float, default=1.0, help="goal (default: %(default)s)")
    asked = parser.parse_args()
    picture, payload = photograph()
    with tempfile.TemporaryDirectory(prefix="lastlayer-footprint-") as folder:
        state = Path(folder) / "state"
        teach(state, picture)
        start_s = statistics.median(first_answer_s(state, payload) for _ in range(STARTS))
        with running(state) as daemon, closing(Client(daemon.url, payload)) as client:
            rss = []
            for count in (asked.frames, asked.more):
                for _ in range(count):
                    phases(client.post())
                rss.append(daemon.process.memory_info().rss / MB)
    growth = (rss[1] - rss[0]) * 100_000 / asked.more
    return finish(
        [
            at_most(f"resident memory after {asked.frames:,} frames", rss[0], asked.rss_mb, unit=" MB"),
            at_most(f"  growth per 100,000, over {asked.more:,} more", growth, asked.growth_mb, unit=" MB"),
            at_most(f"start to first answer, median of {STARTS}", start_s, asked.start_s, unit=" s"),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
