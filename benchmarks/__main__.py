"""All benchmarks, one after the other, and one table of what they found.

    python -m benchmarks [NAME ...]

Each runs in a process of its own, as if it were called alone; what it says goes to stderr. Ends with 1 where a goal was
missed, with 2 where a benchmark failed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from agent.terminal import columns
from benchmarks.rows import HEADING, ROWS_FILE, Row

NAMES = (
    "cache", "device", "epoch", "step", "retraining", "update", "scale", "interference", "frame", "slow_clients",
    "mqtt_stream", "tasks", "footprint", "sweep", "transfer",
)  # fmt: skip


def run(name: str) -> list[Row] | None:
    """What one of them found; None where it failed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        print(f"\n{' '.join(command)}", file=sys.stderr, flush=True)
        subprocess.run(command, env={**os.environ, ROWS_FILE: str(path)}, stdout=sys.stderr, check=False)
        return [Row(**row) for row in json.loads(path.read_text())] if path.exists() else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of these (default: all): {', '.join(NAMES)}")
    names = parser.parse_args().names or NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are: {', '.join(NAMES)}")
    lines: list[tuple[str, ...]] = [("benchmark", *HEADING)]
    missed = failed = False
    for name in names:
        rows = run(name)
        failed |= rows is None
        found = [Row("it failed: see above", "", met=False)] if rows is None else rows
        missed |= any(row.met is False for row in found)
        lines += [(name, *row.cells()) for row in found]
    print(columns(lines))
    return 2 if failed else int(missed)


if __name__ == "__main__":
    sys.exit(main())
