"""Child processes: heard on both pipes, ended in time, and never left behind. Real ones."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

import agent
from agent.board import child as children
from agent.board.child import Child, environment
from agent.errors import ChildError

PATIENCE_S = 60.0

TALKING = """
import sys
for number in range(300):
    sys.stdout.write("o" * 10_000)
    sys.stderr.write(f"{number} " + "e" * 10_000 + "\\n")
sys.stderr.write("the last\\n \\n")
sys.exit(3)
"""
HANGING = "import time; print('here', flush=True); time.sleep(1000)"
MUTE = "import os, time; os.close(1); os.close(2); time.sleep(1000)"
# Its own child keeps both pipes open, and goes on talking where it is asked to.
SURVIVED = """
import subprocess, sys
program = "while True: print('still here', flush=True)" if "talking" in sys.argv else "import time; time.sleep(1000)"
print(subprocess.Popen([sys.executable, "-c", program]).pid, flush=True)
"""


def python(program: str, *words: str, listens: bool = False) -> Child:
    return Child([sys.executable, "-c", program, *words], listens=listens)


def is_gone(child: Child) -> bool:
    """It has ended and was reaped, and none of its pipes is open here."""
    pipes = (child._process.stdin, child._process.stdout, child._process.stderr)
    return not psutil.pid_exists(child.pid) and all(pipe is None or pipe.closed for pipe in pipes)


def killed(child: Child) -> threading.Timer:
    timer = threading.Timer(0.3, child.kill)
    timer.start()
    return timer


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 always looks in the working folder first")
def test_a_folder_of_the_same_name_is_not_taken_for_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "agent.py").write_text("raise SystemExit('not this one')\n")
    monkeypatch.chdir(tmp_path)
    ended = Child([sys.executable, "-m", "agent", "--version"]).wait(PATIENCE_S)
    assert ended.stdout.strip() == f"lastlayer {agent.__version__}", ended.last_words


def test_megabytes_on_both_pipes_are_heard_at_once() -> None:
    child = python(TALKING)
    lines: list[str] = []

    def take(line: str) -> bool:
        lines.append(line)
        return False

    ended = child.wait(PATIENCE_S, take)
    assert (ended.code, len(ended.stdout), ended.last_words) == (3, 3_000_000, "the last")
    assert [line.partition(" ")[0] for line in lines] == [*map(str, range(300)), "the"]
    assert is_gone(child)


def test_a_line_that_somebody_takes_is_not_its_last_words() -> None:
    program = "import sys; sys.stderr.write('torn\\nprogress 1\\nprogress 2')"
    taken: list[str] = []

    def take(line: str) -> bool:
        taken.append(line)
        return line.startswith("progress")

    assert python(program).wait(PATIENCE_S, take).last_words == "torn"
    assert taken == ["torn", "progress 1", "progress 2"]


def test_of_a_line_without_end_the_end_is_kept() -> None:
    program = f"import sys; sys.stderr.write('x' * {3 * children.MAX_LINE_BYTES} + 'end')"
    last = python(program).wait(PATIENCE_S).last_words
    assert (len(last), last[-4:]) == (children.MAX_LINE_BYTES, "xend")


def test_one_that_never_stops_talking_on_stdout_is_ended() -> None:
    child = python("import sys\nwhile True: sys.stdout.write('x' * 65536)")
    with pytest.raises(ChildError, match="more than 16 MiB"):
        child.wait(PATIENCE_S)
    assert is_gone(child)


@pytest.mark.parametrize("program", [HANGING, MUTE])
def test_one_that_hangs_is_ended_at_its_deadline(program: str) -> None:
    child = python(program)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        child.wait(1.0)
    assert 1.0 <= time.monotonic() - began < PATIENCE_S
    assert is_gone(child)


@pytest.mark.parametrize("program", [HANGING, MUTE])
def test_it_is_killed_from_another_thread(program: str) -> None:
    child = python(program)
    timer = killed(child)
    assert child.wait().code == -signal.SIGKILL
    timer.join()
    child.kill()  # once more is no error
    assert is_gone(child)


def test_one_that_cannot_be_started_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ChildError, match=r"none -m agent` cannot be started: No such file"):
        Child([str(tmp_path / "none"), "-m", "agent", "retrain"])


@pytest.mark.parametrize("words", [(), ("talking",)])
def test_a_process_that_it_leaves_behind_with_its_pipes_keeps_nobody_waiting(words: tuple[str, ...]) -> None:
    child = python(SURVIVED, *words)
    began = time.monotonic()
    ended = child.wait(PATIENCE_S)
    survivor = int(ended.stdout.split()[0])
    try:
        assert ended.code == 0
        assert time.monotonic() - began < PATIENCE_S / 2
        assert is_gone(child)
    finally:
        os.kill(survivor, signal.SIGKILL)


def test_it_hears_what_it_is_told_until_it_has_ended() -> None:
    child = python("print(input(), input())", listens=True)
    child.tell("pause")
    child.tell("resume")
    assert child.wait(PATIENCE_S).stdout == "pause resume\n"
    child.tell("pause")
    deaf = python("print(repr(__import__('sys').stdin.read()))")
    deaf.tell("pause")
    assert deaf.wait(PATIENCE_S).stdout == "''\n"


def test_it_is_ended_where_what_hears_it_fails() -> None:
    def fail(line: str) -> bool:
        raise ValueError(line)

    child = python("import sys; sys.stderr.write('torn\\n'); sys.stderr.flush(); input()", listens=True)
    with pytest.raises(ValueError, match="torn"):
        child.wait(PATIENCE_S, fail)
    assert is_gone(child)


def test_its_environment_is_ours_and_what_was_added() -> None:
    ended = Child(
        [sys.executable, "-c", "import os; print(os.environ['OMP_NUM_THREADS'], 'PATH' in os.environ)"],
        environment(**children.ONE_THREAD),
    ).wait(PATIENCE_S)
    assert ended.stdout == "1 True\n"
    bare = Child(["/bin/sh", "-c", "echo ${PYTHONSAFEPATH-unset}"], {}).wait(PATIENCE_S)
    assert bare.stdout == "unset\n"
