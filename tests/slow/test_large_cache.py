"""As many examples as ImageNet has pictures: what the bookkeeping takes, and how long opening does."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agent.learning.cache import segment, segment_io
from agent.learning.cache.header import Header
from agent.learning.cache.journal import Journal
from agent.learning.cache.layout import Layout

pytestmark = pytest.mark.slow

COUNT, LABELS = 1_280_000, 10_000
LAYOUT = Layout.of("0" * 32, 8, "uint8", 1.0, 0)  # the bookkeeping of an example does not depend on its size
ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import resource, sys, time
from pathlib import Path
import numpy as np
from agent.learning.cache import Cache
from agent.learning.examples import blocks
from agent.measuring.measurement import Samples

def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
with Cache.read(Path(sys.argv[1])) as cache:
    source = cache.examples()
    seen = sum(len(batch.rows) for batch in blocks(source, np.arange(source.count), Samples()))
print(source.count, len(source.labels), seen, peak() - before)
"""


def write(folder: Path) -> None:
    """By the segment, not by the example, which would take minutes."""
    rng = np.random.default_rng(0)
    journal = Journal(folder / "journal", 0)
    journal.replace({"op": "label", "label": index, "name": f"label {index}"} for index in range(LABELS))
    journal.close()
    capacity = 4000  # as in a cache of 2,048 values
    for number in range(COUNT // capacity):
        records = np.zeros(capacity, LAYOUT.record)
        entries = records["stored"]["entry"]
        entries["frame_id"] = rng.integers(0, 1 << 63, capacity)
        entries["label"] = rng.integers(0, LABELS, capacity)
        entries["sequence"] = 1 + number
        segment_io.seal(records)
        created = segment.begin(folder / f"{number + 1:08d}.new", Header(LAYOUT, capacity))
        segment_io.write_rows(created, records, 0)
        created.path.rename(created.path.with_suffix(".seg"))


def test_a_million_examples_take_less_than_200_mb(tmp_path: Path) -> None:
    write(tmp_path)
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    count, labels, seen, megabytes = ended.stdout.split()
    assert (int(count), int(labels), int(seen)) == (COUNT, LABELS, COUNT)
    assert float(megabytes) < 200, f"{megabytes} MB above the process without a cache"
