"""A real file system that loses its power: what was acknowledged is there afterwards, and nothing is half there."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cache import Cache
from agent.cache.checking import check
from agent.cache.flash import segment
from agent.errors import StateError
from tests import loop_device
from tests.cache.test_cache import LAYOUT, contents, example, expected
from tests.loop_device import LoopDevice

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not loop_device.available(), reason="needs root, loop devices and mkfs.ext4"),
]

ROOT = Path(__file__).resolve().parents[2]
GOING_DOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
NO_LOG_FLUSH = 2

# Appends, relabels, deletes and compacts for ever, and says of each what is done once it is acknowledged.
PROGRAM = """
import sys
from pathlib import Path
from agent.config import CacheConfig
from agent.cache import compaction
from agent.cache.flash import segment
segment.TARGET_BYTES = 0
compaction.FRESH_SEGMENTS = 3
from tests.cache.test_cache import LAYOUT, Cache, example
cache = Cache(Path(sys.argv[1]), LAYOUT)
for number in range(100_000):
    cache.append([example(number, "new")])
    print("append", number, flush=True)
    if number % 5 == 0:
        cache.relabel(example(number).frame_id, f"label {number % 3}")
        print("relabel", number, flush=True)
    if number % 7 == 0:
        cache.delete([example(number // 2).frame_id])
        print("delete", number // 2, flush=True)
    if number % 24 == 0:
        cache.compact()
"""


@pytest.fixture
def device(tmp_path: Path) -> Iterator[LoopDevice]:
    with loop_device.ext4(tmp_path, 64 << 20) as mounted:
        yield mounted


def cut_power(device: LoopDevice) -> None:
    folder = os.open(device.mount, os.O_RDONLY)
    try:
        fcntl.ioctl(folder, GOING_DOWN, NO_LOG_FLUSH.to_bytes(4, "little"))
    finally:
        os.close(folder)


@pytest.mark.parametrize("acknowledged", [3, 40, 77, 150, 333, 600])
def test_what_was_acknowledged_survives_a_power_cut(device: LoopDevice, acknowledged: int) -> None:
    folder = device.mount / "cache"
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    said: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            said.append(line)
            if len(said) == acknowledged:
                cut_power(device)
        writer.send_signal(signal.SIGKILL)
    device.remount()

    truth: dict[str, str] = {}
    for line in said:
        action, number = line.split()
        frame_id = example(int(number)).frame_id
        if action == "append":
            truth[frame_id] = "new"
        elif action == "relabel":
            truth[frame_id] = f"label {int(number) % 3}"
        else:
            truth.pop(frame_id, None)
    with Cache(folder, LAYOUT) as cache:
        found = {frame_id: label.rsplit(" ", 1)[0] for frame_id, (label, _) in contents(cache).items()}
        under_way = {f for f in found.keys() | truth.keys() if found.get(f) != truth.get(f)}
        assert len(under_way) <= 1, "more differs than the one change that was not acknowledged"
        cache.append([example(10**6)])
    assert check(folder) == []


def test_a_full_disk_refuses_and_heals_by_itself(device: LoopDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "TARGET_BYTES", 1 << 19)
    folder, ballast = device.mount / "cache", device.mount / "ballast"
    given = [example(number, "glass") for number in range(12_000)]
    with Cache(folder, LAYOUT) as cache:
        cache.append(given[:10])
        with ballast.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)):
                        pass
        kept = 10
        with pytest.raises(StateError, match="No space left on device"):
            for start in range(10, 12_000, 500):
                cache.append(given[start : start + 500])
                kept = start + 500
        for label in ("glass", "new"):
            with pytest.raises(StateError, match="No space left"):
                cache.append([example(40_000 + at, label) for at in range(8_000)])
        assert contents(cache) == expected(given[:kept])
        ballast.unlink()
        cache.append(given[kept : kept + 700])
        assert len(cache) == kept + 700
    with Cache(folder, LAYOUT) as cache:
        assert contents(cache) == expected(given[: kept + 700])
    assert check(folder) == []
