"""What a process takes that bounds itself, in processes of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def ended(program: str, *words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", program, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.parametrize(("megabytes", "is_there"), [(64, True), (400, False)])
def test_there_is_room_to_open_what_was_sent_and_no_more(megabytes: int, is_there: bool) -> None:
    program = (
        "import sys; from agent.board.confinement import limit_memory; limit_memory(1 << 20); "
        "taken = bytearray(int(sys.argv[1]) << 20); print(len(taken))"
    )
    found = ended(program, megabytes)
    assert (found.returncode == 0) is is_there, found.stderr
    assert is_there or found.stderr.rstrip().endswith("MemoryError")


def test_more_that_was_sent_gives_more_room() -> None:
    program = (
        "from agent.board.confinement import limit_memory; limit_memory(100 << 20); taken = bytearray(400 << 20); "
        "print(len(taken))"
    )
    assert ended(program).stdout.split() == [str(400 << 20)]


def test_a_bound_that_is_tighter_already_stays() -> None:
    program = (
        "import resource; from agent.board.confinement import limit_memory; "
        "resource.setrlimit(resource.RLIMIT_DATA, (1 << 20, 1 << 20)); limit_memory(100 << 20); "
        "print(*resource.getrlimit(resource.RLIMIT_DATA))"
    )
    assert ended(program).stdout.split() == [str(1 << 20)] * 2


def test_who_is_to_end_with_its_parent_does() -> None:
    program = """
import os, signal, sys, time
from agent.board.confinement import end_with_parent
reads, writes = os.pipe()
if (child := os.fork()) == 0:  # the parent
    if os.fork() == 0:
        end_with_parent()
        os.write(writes, b"x")
        signal.pause()
    os.read(reads, 1)
    os._exit(0)
os.waitpid(child, 0)
os.close(writes)  # the last end of the pipe is the grandchild's: it closes when that ends
print(os.read(reads, 1))
"""
    found = ended(program)
    assert found.stdout.strip() == "b''", found.stderr
