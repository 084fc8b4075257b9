"""Processes that are interrupted at once, twice, and where nothing can be raised."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent.board.interruption import Interruption, undisturbed

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import os, signal, sys, threading, time
from agent.board.interruption import ENDING, Interruption, undisturbed

def main():
    with Interruption(ends_process=True) as interruption:
        try:
            {work}
            return 0
        except BaseException:
            print("ended", interruption.number.name, flush=True)
            return 128 + interruption.number

code = main()
os.kill(os.getpid(), signal.SIGINT)  # while the interpreter ends
sys.exit(code)
"""


def ended(work: str) -> tuple[int, str, str]:
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(work=work)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    return process.returncode, process.stdout, process.stderr


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_block_and_what_comes_behind_it_is_ignored(name: str) -> None:
    work = f"os.kill(os.getpid(), signal.{name}); time.sleep(50)"
    assert ended(work) == (128 + getattr(signal, name), f"ended {name}\n", "")


def test_a_second_one_does_not_disturb_the_ending() -> None:
    work = """
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(50)
            finally:
                os.kill(os.getpid(), signal.SIGINT)
                print("in order")
    """
    assert ended(work) == (130, "in order\nended SIGINT\n", "")


def test_one_that_went_through_an_exec_ends_with_the_code_and_not_by_the_signal() -> None:
    assert ended("""exec("os.kill(os.getpid(), signal.SIGINT); time.sleep(50)")""")[0] == 130


def test_one_that_comes_where_nothing_can_be_raised_comes_again() -> None:
    work = """
            class Deaf:
                def __del__(self):
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(0.1)
            Deaf()
            time.sleep(50)
    """
    assert ended(work) == (130, "ended SIGINT\n", "")


def test_one_that_comes_while_it_must_not_waits() -> None:
    work = """
            with undisturbed():
                os.kill(os.getpid(), signal.SIGINT)
                print("undisturbed")
            time.sleep(50)
    """
    assert ended(work) == (130, "undisturbed\nended SIGINT\n", "")


def test_what_was_there_before_is_there_again() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Interruption() as interruption:
        assert signal.getsignal(signal.SIGINT) not in before
    assert interruption.number is None
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Interruption():
            os.kill(os.getpid(), signal.SIGTERM)
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_process_that_is_started_undisturbed_never_hears_it() -> None:
    with undisturbed([signal.SIGINT]):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    child.send_signal(signal.SIGINT)
    child.communicate(b"\n", timeout=30)
    assert child.returncode == 0
