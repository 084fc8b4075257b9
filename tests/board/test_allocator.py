import mmap
import re
import subprocess
import sys
import time
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


# Sixteen threads at a time; how many pools there are, as the library itself tells.
POOLS = """
import ctypes, sys, threading
from agent.board import allocator
if sys.argv[1] == "yes":
    allocator.share_arenas()
together = threading.Barrier(16)
def work():
    block = bytes(100_000)
    together.wait()
threads = [threading.Thread(target=work) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
library = ctypes.CDLL(None)
library.fopen.restype, library.malloc_info.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
library.fclose.argtypes = (ctypes.c_void_p,)
file = library.fopen(sys.argv[2].encode(), b"w")
library.malloc_info(0, file)
library.fclose(file)
print(open(sys.argv[2]).read().count("<heap nr="))
"""


def test_threads_share_two_pools(tmp_path: Path) -> None:
    def pools(called: str) -> int:
        command = [sys.executable, "-c", POOLS, called, str(tmp_path / called)]
        return int(subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout)

    assert pools("yes") <= 2 < pools("no")


def test_what_is_left_goes_back_after_work_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    worked, given = [0.0], []
    monkeypatch.setattr(time, "process_time", lambda: worked[0])
    monkeypatch.setattr(allocator, "give_back_freed", lambda: given.append(worked[0]))
    residue = allocator.Residue()
    for worked[0] in (0.01, 0.04, 0.1, 0.1, 0.14, 0.2):
        residue.give_back()
    assert given == [0.1, 0.2]


def test_a_library_without_the_call_is_no_trouble(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    caplog.set_level("DEBUG")
    allocator.give_back_large_blocks()
    allocator.share_arenas()
    allocator.give_back_freed()
    missing = [*["the C library has no mallopt"] * 3, "the C library has no malloc_trim"]
    assert [record.getMessage() for record in caplog.records] == missing


def resident_kb(path: Path) -> int:
    """Of a file's mapped pages in this process."""
    found = re.findall(rf"{re.escape(str(path))}\n(?:.*\n)*?Rss: +(\d+) kB", Path("/proc/self/smaps").read_text())
    return sum(map(int, found))


@pytest.mark.parametrize("name", ["file", "a name with blanks", "(deleted)"])
def test_pages_that_are_given_back_are_read_again(name: str, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096
    (tmp_path / name).write_bytes(content)
    (tmp_path / "link").symlink_to(name)
    with (tmp_path / name).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert mapped[:] == content
        assert resident_kb(tmp_path / name) >= 1024
        allocator.forget_pages(tmp_path / "link")
        assert resident_kb(tmp_path / name) == 0
        assert mapped[:] == content


def test_what_is_not_mapped_is_left_alone(tmp_path: Path) -> None:
    before = Path("/proc/self/maps").read_text()
    allocator.forget_pages(tmp_path / "none")
    assert len(Path("/proc/self/maps").read_text()) == pytest.approx(len(before), rel=0.1)
