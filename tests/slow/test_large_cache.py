"""As many examples as ImageNet has pictures: what is known of them takes little memory."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agent.cache import Layout
from agent.cache.flash import segment, segment_io
from agent.cache.flash.journal import Journal
from agent.cache.flash.layout import Header

pytestmark = pytest.mark.slow

COUNT = 1_280_000
LAYOUT = Layout.of("0" * 32, 8, "uint8", 1.0, 0)  # the bookkeeping of an example does not depend on its size
ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import resource, sys, time
from pathlib import Path
import numpy as np
from agent.cache import Cache
from agent.learning.training.examples import blocks
from agent.measuring.measurement import Samples

def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
with Cache.read(Path(sys.argv[1])) as cache:
    source = cache.examples()
    seen = sum(len(batch.rows) for batch in blocks(source, np.arange(source.count), Samples()))
print(source.count, len(source.labels), seen, peak() - before)
"""


RETRAIN = """
import resource, sys
import numpy as np
from agent import cli
np.ones((512, 512), np.float32) @ np.ones((512, 512), np.float32)  # BLAS takes its own buffers
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
code = cli.main(["--state", sys.argv[1], "retrain", "--json"])
print(peak() - before, file=sys.stderr)
sys.exit(code)
"""


def write(folder: Path, labels: int) -> None:
    """By the segment, not by the example, which would take minutes."""
    rng = np.random.default_rng(0)
    journal = Journal(folder / "journal", 0)
    journal.replace({"op": "label", "label": index, "name": f"label {index}"} for index in range(labels))
    journal.close()
    capacity = 4000  # as in a cache of 2,048 values
    for number in range(COUNT // capacity):
        records = np.zeros(capacity, LAYOUT.record)
        entries = records["stored"]["entry"]
        entries["frame_id"] = rng.integers(0, 1 << 63, capacity)
        entries["label"] = rng.integers(0, labels, capacity)
        entries["sequence"] = 1 + number
        entries["split"] = rng.random(capacity) < 0.01
        records["bottleneck"] = rng.integers(0, 256, (capacity, LAYOUT.size))
        segment_io.seal(records)
        created = segment.begin(folder / f"{number + 1:08d}.new", Header(LAYOUT, capacity))
        segment_io.write_rows(created, records, 0)
        created.path.rename(created.path.with_suffix(".seg"))


def test_a_million_examples_take_less_than_200_mb(tmp_path: Path) -> None:
    write(tmp_path, labels=10_000)
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    count, labels, seen, megabytes = ended.stdout.split()
    assert (int(count), int(labels), int(seen)) == (COUNT, 10_000, COUNT)
    assert float(megabytes) < 200, f"{megabytes} MB above the process without a cache"


def test_a_retraining_on_a_million_examples_takes_less_than_120_mb(tmp_path: Path) -> None:
    """Beside what the size of a bottleneck and the number of labels ask for, which is little here."""
    (tmp_path / "cache").mkdir()
    write(tmp_path / "cache", labels=100)
    ended = subprocess.run(
        [sys.executable, "-c", RETRAIN, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert json.loads(ended.stdout)["version"] == "1"
    megabytes = float(ended.stderr.splitlines()[-1])
    assert megabytes < 120, f"{megabytes} MB above the process before it"
