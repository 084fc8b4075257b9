import subprocess
import sys
from pathlib import Path

import pytest

from agent.board import allocator

ROOT = Path(__file__).resolve().parents[2]

# Blocks of 8 MiB that come and go, then more of them with something small that stays behind each.
PROGRAM = """
import sys
import numpy as np
from agent.board import allocator
def resident(): return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
if sys.argv[1] == "yes":
    allocator.give_back_large_blocks()
for _ in range(3):
    np.ones(1 << 21, np.float32)
before = resident()
large, small = [], []
for _ in range(8):
    large.append(np.ones(1 << 21, np.float32))
    small += [bytes(1000) for _ in range(100)]
del large
kept = resident() - before
allocator.give_back_freed()
print(kept, resident() - before)
"""


def kept_mb(called: str) -> tuple[float, float]:
    """Beyond what is in use, and that after it was asked back."""
    command = [sys.executable, "-c", PROGRAM, called]
    kept, left = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout.split()
    return float(kept), float(left)


def test_large_blocks_go_back_to_the_system_at_once() -> None:
    assert kept_mb("yes")[0] < 8


def test_what_was_freed_goes_back_when_it_is_asked_for() -> None:
    assert kept_mb("no")[1] < 8


def test_a_library_without_the_call_is_no_trouble(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    caplog.set_level("DEBUG")
    allocator.give_back_large_blocks()
    allocator.give_back_freed()
    missing = [*["the C library has no mallopt"] * 2, "the C library has no malloc_trim"]
    assert [record.getMessage() for record in caplog.records] == missing
