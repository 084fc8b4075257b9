"""A child that counts, controlled through its stdin as a daemon does it."""

import itertools
import signal
import subprocess
import sys
import threading

from tests.daemon import ROOT

COUNTING = """
import sys
from agent.learning.running.control import Control
control = Control(0)
for number in range(10**9):
    assert control.should_stop() is False
    sys.stdout.write(f"{number} {control.paused_s:.2f}\\n")
    sys.stdout.flush()
    if number == 5 and "short" in sys.argv:
        break
"""


def counting(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", COUNTING, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def test_the_end_of_the_pipe_ends_a_process_even_while_it_pauses() -> None:
    for commands in ("", "pause\n", "pause\nresume\npause\n"):
        with counting() as child:
            assert child.stdin is not None and child.stdout is not None
            assert child.stdout.readline()
            child.stdin.write(commands)
            child.stdin.close()
            for _ in child.stdout:
                pass
            assert child.wait(20) == -signal.SIGTERM


def is_before_a_pause(line: str) -> bool:
    return float(line.split()[1]) == 0


def test_it_pauses_and_resumes() -> None:
    with counting() as child:
        assert child.stdin is not None and child.stdout is not None
        commands = child.stdin
        commands.write("paint\npause\n")
        commands.flush()

        sent: list[str] = []

        def resume() -> None:
            sent.append("resume")
            commands.write("resume\n")
            commands.flush()

        later = threading.Timer(0.5, resume)
        later.start()
        for _ in itertools.takewhile(is_before_a_pause, child.stdout):
            pass
        later.join()  # had it not paused, the counting would have gone on for ever
        assert "resume" in sent
        child.kill()


def test_a_process_that_has_done_its_work_ends_although_the_pipe_is_open() -> None:
    with counting("short") as child:
        assert child.wait(20) == 0
        assert child.stdin is not None
        child.stdin.close()
